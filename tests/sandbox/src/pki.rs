//! Certificates for the control plane, made anew for each sandbox.

use std::{fs, path::Path};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// Writes a CA, the API server's certificate, clients' certificates and the key that signs service account tokens into `dir`.
pub fn write(dir: &Path, addresses: &[&str], names: &[&str], node: &str) -> Result<()> {
    fs::create_dir_all(dir)?;
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(vec![])?;
    ca.distinguished_name.push(DnType::CommonName, "sandbox");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    fs::write(dir.join("ca.crt"), ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);

    let mut server = leaf("kube-apiserver", None, ExtendedKeyUsagePurpose::ServerAuth)?;
    for address in addresses {
        server.subject_alt_names.push(SanType::IpAddress(address.parse()?));
    }
    for name in names {
        server.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
    }
    sign(dir, "apiserver", &server, &issuer)?;
    sign(dir, "admin", &leaf("admin", Some("system:masters"), ExtendedKeyUsagePurpose::ClientAuth)?, &issuer)?;
    let kubelet = leaf(&format!("system:node:{node}"), Some("system:nodes"), ExtendedKeyUsagePurpose::ClientAuth)?;
    sign(dir, "kubelet", &kubelet, &issuer)?;
    let service_accounts = KeyPair::generate()?;
    fs::write(dir.join("service-accounts.key"), service_accounts.serialize_pem())?;
    fs::write(dir.join("service-accounts.pub"), service_accounts.public_key_pem())?;
    Ok(())
}

fn leaf(name: &str, organization: Option<&str>, usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    Ok(params)
}

fn sign(dir: &Path, name: &str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    let key = KeyPair::generate()?;
    fs::write(dir.join(format!("{name}.crt")), params.signed_by(&key, issuer)?.pem())?;
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}
