//! Agent API keys: `dva_<key id, 12>_<secret, 32>_<checksum, 6>`, all base62.
//!
//! The checksum (CRC-32 of everything before it, as GitHub's tokens carry one) lets scanners and
//! the API refuse a mistyped key without a query. Only the SHA-256 of a whole key is ever stored.

use rand::RngExt;
use sha2::{Digest, Sha256};

const PREFIX: &str = "dva";
const KEY_ID_LEN: usize = 12;
const SECRET_LEN: usize = 32;
const CHECKSUM_LEN: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is not an API key. Never contains the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("api key does not have the form dva_<key id>_<secret>_<checksum>")]
    Malformed,
    #[error("api key has a wrong checksum: it was mistyped or cut")]
    WrongChecksum,
}

/// The public part of a key whose form and checksum are right. Says nothing about its validity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Names the key in lists and logs; not secret.
    pub key_id: String,
}

/// Makes a new key from the operating system's randomness (190 bits of secret).
pub fn generate() -> String {
    let mut rng = rand::rng();
    let body = format!(
        "{PREFIX}_{}_{}",
        random_base62(&mut rng, KEY_ID_LEN),
        random_base62(&mut rng, SECRET_LEN)
    );
    let checksum = checksum(&body);
    format!("{body}_{checksum}")
}

/// Checks form and checksum of a presented key.
///
/// # Errors
/// [`KeyError::Malformed`] or [`KeyError::WrongChecksum`].
pub fn parse(key: &str) -> Result<ApiKey, KeyError> {
    let parts: Vec<&str> = key.split('_').collect();
    let [prefix, key_id, secret, check] = parts[..] else {
        return Err(KeyError::Malformed);
    };
    let well_formed = prefix == PREFIX
        && is_base62(key_id, KEY_ID_LEN)
        && is_base62(secret, SECRET_LEN)
        && is_base62(check, CHECKSUM_LEN);
    if !well_formed {
        return Err(KeyError::Malformed);
    }
    if checksum(&key[..key.len() - CHECKSUM_LEN - 1]) != check {
        return Err(KeyError::WrongChecksum);
    }
    Ok(ApiKey {
        key_id: key_id.to_owned(),
    })
}

/// SHA-256 of a whole key: what the database stores and compares.
pub fn sha256(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn random_base62(rng: &mut impl rand::Rng, len: usize) -> String {
    (0..len)
        .map(|_| BASE62[rng.random_range(0..BASE62.len())] as char)
        .collect()
}

fn is_base62(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % BASE62.len()];
        rest /= BASE62.len();
    }
    digits.iter().map(|&b| b as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_parses_and_names_its_id() {
        let key = generate();
        let parsed = parse(&key).expect("a fresh key is well-formed");
        assert_eq!(parsed.key_id, key[4..16]);
        assert_eq!(key.len(), 3 + 1 + 12 + 1 + 32 + 1 + 6);
    }

    #[test]
    fn two_keys_differ() {
        assert_ne!(generate(), generate());
    }

    #[test]
    fn every_single_typo_in_the_secret_is_refused() {
        let key = generate();
        for position in 17..49 {
            let mut typo = key.clone().into_bytes();
            typo[position] = if typo[position] == b'x' { b'y' } else { b'x' };
            let typo = String::from_utf8(typo).expect("still ascii");
            assert_eq!(parse(&typo), Err(KeyError::WrongChecksum));
        }
    }

    #[test]
    fn other_texts_are_malformed() {
        for text in [
            "",
            "dva",
            "dva_a_b_c",
            "ghp_000000000000_x_y",
            "dva____",
            "é",
        ] {
            assert_eq!(parse(text), Err(KeyError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn the_hash_is_sha256_of_the_whole_key() {
        assert_eq!(
            hex::encode(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
