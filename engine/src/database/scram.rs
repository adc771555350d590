//! A password as PostgreSQL keeps it, so that the password itself is in no statement and no log.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// PostgreSQL's own default, and the least that RFC 7677 allows; our passwords are random, so that
/// more would only cost time.
const ITERATIONS: u32 = 4096;

/// The verifier of a password, `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER` (RFC 5803 in
/// PostgreSQL's form). `None` for a password that is not printable ASCII: those would have to be
/// normalised first (RFC 4013), and ours never are.
pub(super) fn verifier(password: &SecretString, salt: [u8; 16]) -> Option<String> {
    let password = password.expose_secret();
    if password.is_empty() || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return None;
    }
    let salted = salted(password.as_bytes(), &salt)?;
    let stored = Sha256::digest(mac(&salted, &[b"Client Key"])?);
    let server = mac(&salted, &[b"Server Key"])?;
    let encode = |bytes: &[u8]| STANDARD.encode(bytes);
    Some(format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", encode(&salt), encode(&stored), encode(&server)))
}

/// PBKDF2 with one block of output.
fn salted(password: &[u8], salt: &[u8]) -> Option<[u8; 32]> {
    let keyed = Hmac::<Sha256>::new_from_slice(password).ok()?;
    let mut round = mac(password, &[salt, &1u32.to_be_bytes()])?;
    let mut sum = round;
    for _ in 1..ITERATIONS {
        round = keyed.clone().chain_update(round).finalize().into_bytes().into();
        for (sum, round) in sum.iter_mut().zip(round) {
            *sum ^= round;
        }
    }
    Some(sum)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677_verifies() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = verifier(&SecretString::from("pencil"), salt).unwrap();
        let (stored, server) = verifier.rsplit_once('$').unwrap().1.split_once(':').unwrap();
        let bytes = |text: &str| -> [u8; 32] { STANDARD.decode(text).unwrap().try_into().unwrap() };

        let message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = mac(&bytes(stored), &[message]).unwrap();
        let proof = bytes("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let client: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(client)[..], bytes(stored));
        assert_eq!(mac(&bytes(server), &[message]).unwrap(), bytes("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn only_printable_ascii_is_taken() {
        for wrong in ["", "pässword", "tab\there", "nul\0"] {
            assert!(verifier(&SecretString::from(wrong), [0; 16]).is_none(), "{wrong:?}");
        }
    }
}
