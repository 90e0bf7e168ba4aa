//! What every endpoint shares: reading requests, paging, idempotency, limits and observation.

pub mod body;
pub mod change;
pub mod claim_key;
pub mod client_address;
pub mod idempotency_key;
pub mod json;
pub mod observe;
pub mod reply;
pub mod security_headers;
pub mod timeout;
pub mod trace_context;
pub mod url;
