//! Agent API keys (docs/security.md, "Keys, tokens and signatures").

use pgrx::prelude::*;

/// Makes a new API key: `dva_<key id>_<secret>_<checksum>`. Nothing is stored.
#[pg_extern(volatile, parallel_safe)]
fn generate_api_key() -> String {
    devart_core::api_key::generate()
}

/// SHA-256 of a whole key: the only form in which keys are stored.
#[pg_extern(immutable, parallel_safe)]
fn hash_api_key(key: &str) -> Vec<u8> {
    devart_core::api_key::sha256(key).to_vec()
}

/// Whether two byte strings are equal, in time that depends on their length only.
#[pg_extern(immutable, parallel_safe)]
fn constant_time_equals(left: &[u8], right: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    left.ct_eq(right).into()
}
