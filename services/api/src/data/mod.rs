//! The statements this API sends, one function each. Rules live in the database; so a function here
//! only names columns and binds arguments.

pub mod agents;
pub mod approvals;
pub mod broker;
pub mod budgets;
pub mod claims;
pub mod holds;
pub mod idempotency;
pub mod identity;
pub mod page;
pub mod prices;
pub mod services;
pub mod settings;
pub mod stops;
pub mod tasks;
pub mod webhooks;
