//! Signatures of what comes in from outside.

use pgrx::prelude::*;

/// Whether `signature` (header `X-Hub-Signature-256`) is the HMAC SHA-256 of `body` under `secret`.
/// Constant time; false for an empty secret.
#[pg_extern(immutable, parallel_safe)]
fn verify_github_signature(secret: &str, body: &[u8], signature: &str) -> bool {
    devart_core::signature::verify(secret, body, signature)
}
