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

/// Verifies a body as it comes in, so that nobody has to keep it for that.
pub struct Verifier {
    /// One for each secret.
    macs: Vec<Hmac<Sha256>>,
    signature: Vec<u8>,
}

impl Verifier {
    /// For `header` and the secrets that a body may be signed with. None when there is nothing to
    /// verify by: as [`verify`] would refuse every body.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, header: &str) -> Option<Self> {
        let signature = hex::decode(header.strip_prefix(SCHEME)?).ok()?;
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        let macs: Vec<_> = secrets.map(|secret| mac(secret, b"")).collect();
        (!macs.is_empty()).then_some(Self { macs, signature })
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) {
        for mac in &mut self.macs {
            mac.update(part);
        }
    }

    /// Whether any of the secrets signs what was taken.
    pub fn verifies(self) -> bool {
        let signature = self.signature;
        self.macs
            .into_iter()
            .any(|mac| mac.verify_slice(&signature).is_ok())
    }
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
        assert!(Verifier::new([""], &sign("", BODY)).is_none());
    }

    fn verifies_in_parts(secrets: &[&str], parts: &[&[u8]], header: &str) -> bool {
        let Some(mut verifier) = Verifier::new(secrets.iter().copied(), header) else {
            return false;
        };
        parts.iter().for_each(|part| verifier.update(part));
        verifier.verifies()
    }

    #[test]
    fn a_body_in_parts_verifies_as_the_whole_does() {
        let (first, rest) = BODY.split_at(5);
        assert!(verifies_in_parts(
            &["other", SECRET],
            &[first, rest],
            HEADER
        ));
        assert!(!verifies_in_parts(&["other"], &[first, rest], HEADER));
        assert!(!verifies_in_parts(&[SECRET], &[first], HEADER));
        assert!(!verifies_in_parts(&[SECRET], &[BODY], &HEADER[7..]));
    }
}
