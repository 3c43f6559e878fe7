//! What the sandbox needs of the system: installed where that is possible, otherwise named in one message.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

/// A file that proves that a Debian package is there.
const PACKAGES: &[(&str, &str)] = &[
    ("buildah", "/usr/bin/buildah"),
    ("busybox-static", "/usr/bin/busybox"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("iproute2", "/usr/sbin/ip"),
    ("iptables", "/usr/sbin/iptables"),
    ("libseccomp-dev", "/usr/include/seccomp.h"),
    ("pkg-config", "/usr/bin/pkg-config"),
    ("util-linux", "/usr/bin/nsenter"),
];

/// Toolchains, which the sandbox does not install: command, and what brings it.
const TOOLCHAINS: &[(&str, &str)] =
    &[("go", "Go 1.26 or newer"), ("java", "a JDK, 17 or newer"), ("jlink", "a JDK, 17 or newer"), ("mvn", "Maven")];

/// Says at once when there can be no sandbox on this machine.
pub fn check_machine() -> Result<()> {
    let own_cluster = "Use a cluster of your own instead: CLUSTER=existing with KUBECONFIG and KAFKA_BOOTSTRAP_SERVERS set (CONTRIBUTING.md says how, with kind)";
    if !cfg!(target_os = "linux") {
        bail!("the sandbox needs Linux. {own_cluster}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the sandbox needs root, for namespaces, mounts and cgroups. {own_cluster}");
    }
    Ok(())
}

/// Installs what is missing, or says what is.
pub fn ensure() -> Result<()> {
    check_machine()?;
    let missing: Vec<&str> = PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    let tools: Vec<&str> = TOOLCHAINS.iter().filter(|(command, _)| !on_path(command)).map(|(_, what)| *what).collect();
    if !tools.is_empty() {
        bail!("missing: {}. Install them first; the sandbox brings everything else itself", tools.join(", "));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !on_path("apt-get") {
        bail!("missing: {list} (Debian's names). Install them with this system's package manager");
    }
    eprintln!("sandbox: installing Debian packages: {list}");
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], &missing[..]].concat())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output =
        Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("apt-get {} failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn on_path(command: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(command).is_file()))
}
