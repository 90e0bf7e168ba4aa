//! What travels over HTTP: rows as they are answered, and requests as they are accepted.
//! Descriptions here become the descriptions of the OpenAPI document.

pub mod agent;
pub mod approval;
pub mod broker;
pub mod budget;
pub mod claim;
pub mod delivery;
pub mod history;
pub mod hold;
pub mod price;
pub mod scalar;
pub mod service;
pub mod session;
pub mod setting;
pub mod stop;
pub mod task;
mod validate;

pub use validate::Validate;
