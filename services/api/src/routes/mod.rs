//! Endpoints: each reads the request, calls one function of `data`, and answers.

pub mod agents;
pub mod approvals;
pub mod auth;
pub mod broker;
pub mod budgets;
pub mod claims;
pub mod health;
pub mod holds;
pub mod me;
pub mod prices;
pub mod services;
pub mod settings;
pub mod stops;
pub mod tasks;
pub mod webhooks;
