//! What every endpoint shares: reading requests, paging, idempotency, limits and observation.

pub mod body;
pub mod body_room;
pub mod change;
pub mod claim_key;
pub mod client_address;
pub mod idempotency_key;
pub mod json;
pub mod observe;
pub mod reply;
pub mod security_headers;
pub mod sign_in_body;
pub mod timeout;
pub mod trace_context;
pub mod url;
