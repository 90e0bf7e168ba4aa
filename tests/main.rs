//! What crosses the boundaries of devart's parts, with real processes: races, restarts, permissions,
//! dump and restore, the API, the SDK. One file per behaviour.
//!
//! Needs the extension installed (`devart setup`) and the API built
//! (`cargo build --release -p devart-api`); `make test` does both.

mod support;

mod api_behaviour;
mod api_budgets;
mod api_input;
mod budget_claim;
mod budget_crash;
mod budget_model;
mod budget_race;
mod budget_scopes;
mod budget_windows;
mod claim_order;
mod claim_race;
mod dependencies;
mod failure;
mod holds;
mod lease;
mod migrate;
mod money;
mod native;
mod privileges;
mod restart;
mod sdk;
mod webhooks;
