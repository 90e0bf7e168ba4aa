//! The decisions of devart as pure Rust, without Postgres.
//!
//! The extension (`pg_devart`) and the services share these, so that a key is checked, a webhook
//! verified and a retry delayed by the same lines wherever it happens.

pub mod aging;
pub mod allowance;
pub mod api_key;
pub mod argument_error;
pub mod backoff;
pub mod candidate;
pub mod capabilities;
pub mod choice;
pub mod claim_round;
pub mod cost;
pub mod cursor;
pub mod deferral;
pub mod delay;
pub mod json;
pub mod libpq_url;
pub mod moment;
pub mod price;
pub mod retry;
pub mod runnable;
pub mod settlement;
pub mod signature;
pub mod status;
pub mod status_change;
pub mod template;
pub mod traceparent;
pub mod usd;
