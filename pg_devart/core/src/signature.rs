//! GitHub's webhook signature: HMAC SHA-256 over the raw body, header `X-Hub-Signature-256`.
//! Source: GitHub Docs, "Validating webhook deliveries".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const SCHEME: &str = "sha256=";

/// Whether `header` (`sha256=<64 hex digits>`) signs `body` under `secret`.
///
/// The comparison takes constant time. An empty secret verifies nothing: a deployment that forgot
/// to configure one must not accept everybody's deliveries.
pub fn verify(secret: &str, body: &[u8], header: &str) -> bool {
    let Some(signature) = header
        .strip_prefix(SCHEME)
        .and_then(|digits| hex::decode(digits).ok())
    else {
        return false;
    };
    !secret.is_empty() && mac(secret, body).verify_slice(&signature).is_ok()
}

/// The header value that signs `body` under `secret`: what a sender puts on a delivery.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let digest = mac(secret, body).finalize().into_bytes();
    format!("{SCHEME}{}", hex::encode(digest))
}

fn mac(secret: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const HEADER: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn githubs_own_example_verifies() {
        assert!(verify(SECRET, BODY, HEADER));
        assert_eq!(sign(SECRET, BODY), HEADER);
    }

    #[test]
    fn a_changed_body_secret_or_signature_is_refused() {
        assert!(!verify(SECRET, b"Hello, World?", HEADER));
        assert!(!verify("another secret", BODY, HEADER));
        assert!(!verify(SECRET, BODY, &HEADER.replace('7', "8")));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for header in [
            "",
            "sha256=",
            "sha256=zz",
            "sha1=00",
            &HEADER[..40],
            &HEADER[7..],
        ] {
            assert!(!verify(SECRET, BODY, header), "{header:?}");
        }
    }

    #[test]
    fn an_empty_secret_verifies_nothing() {
        assert!(!verify("", BODY, &sign("", BODY)));
    }
}
