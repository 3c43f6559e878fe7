//! The client's side of SCRAM (RFC 5802, RFC 7677): the client proves the password without sending
//! it, and the broker proves that it knows the password too.

use std::num::NonZeroU32;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{digest, hmac, pbkdf2};

/// The most hash rounds; the broker chooses their number, and each costs time.
const MAX_ROUNDS: u32 = 1_000_000;

/// The mechanism's hash.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// One authentication.
pub(in crate::kafka) struct Scram<'a> {
    hash: Hash,
    password: &'a str,
    nonce: String,
    first_bare: String,
}

/// The last answer of a broker that knows the password.
pub(in crate::kafka) struct Expected(String);

impl<'a> Scram<'a> {
    /// `nonce` must be random and used only once.
    pub fn new(hash: Hash, username: &str, password: &'a str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Self { hash, password, nonce, first_bare }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The second message, with the proof, and the answer to expect.
    ///
    /// # Errors
    /// What the broker's answer lacks.
    pub fn second(&self, answer: &str) -> Result<(String, Expected), &'static str> {
        let field = |name: &str| answer.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let nonce = field("r").filter(|nonce| nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len());
        let nonce = nonce.ok_or("its nonce does not continue ours")?;
        let salt = field("s").and_then(|salt| BASE64_STANDARD.decode(salt).ok()).ok_or("it has no salt")?;
        let rounds = field("i").and_then(|rounds| rounds.parse::<NonZeroU32>().ok()).ok_or("it has no number of rounds")?;
        if rounds.get() > MAX_ROUNDS {
            return Err("it asks for too many rounds");
        }
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), rounds, &salt, self.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text.as_bytes());
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{answer},{without_proof}", self.first_bare);
        let client_key = sign(&salted, "Client Key");
        let stored = digest::digest(self.hash.digest(), client_key.as_ref());
        let signature = sign(stored.as_ref(), &message);
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, signed)| key ^ signed).collect();
        let server = sign(sign(&salted, "Server Key").as_ref(), &message);
        let second = format!("{without_proof},p={}", BASE64_STANDARD.encode(proof));
        Ok((second, Expected(format!("v={}", BASE64_STANDARD.encode(server.as_ref())))))
    }
}

impl Expected {
    /// Whether the broker has proved that it knows the password.
    pub fn is(&self, answer: &str) -> bool {
        answer.split(',').any(|field| field == self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ANSWER: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn scram() -> Scram<'static> {
        Scram::new(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".into())
    }

    #[test]
    fn the_example_of_the_rfc_works() {
        assert_eq!(scram().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (second, expected) = scram().second(ANSWER).unwrap();
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(second, format!("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p={proof}"));
        assert!(expected.is("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!expected.is("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") && !expected.is("e=other-error"));
    }

    #[rstest]
    #[case::another_nonce("r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")]
    #[case::only_our_own_nonce("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")]
    #[case::no_salt("r=rOprNGfwEbeRWgbNEkqOx,i=4096")]
    #[case::no_rounds("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0")]
    #[case::too_many_rounds("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000")]
    #[case::empty("")]
    fn an_incomplete_answer_gets_no_proof(#[case] answer: &str) {
        assert!(scram().second(answer).is_err());
    }

    #[test]
    fn a_username_may_have_any_character() {
        let scram = Scram::new(Hash::Sha512, "a=b,c", "p", "n".into());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=n");
    }
}
