//! What crosses the boundaries of devart's parts, with real processes: races, restarts, permissions,
//! dump and restore, the API, the SDK. One file per behaviour.
//!
//! Needs the extension installed (`devart setup`) and the services built
//! (`cargo build --release --bins`); `make test` does both.

mod support;

mod api_behaviour;
mod api_budgets;
mod api_endurance;
mod api_input;
mod api_permissions;
mod api_sessions;
mod approvals;
mod budget_claim;
mod budget_crash;
mod budget_model;
mod budget_race;
mod budget_scopes;
mod budget_windows;
mod chaos;
mod claim_order;
mod claim_race;
mod claim_recall;
mod creation;
mod dashboards;
mod dependencies;
mod dependency_races;
mod failure;
mod history;
mod holds;
mod hostile_search_path;
mod kept_settings;
mod lease;
mod migrate;
mod money;
mod native;
mod native_looks;
mod native_source;
mod outbox;
mod outbox_growth;
mod outbox_operators;
mod outbox_permissions;
mod outbox_rows;
mod planner_switches;
mod privileges;
mod rabbitmq;
mod restart;
mod schema_lints;
mod sdk;
mod task_messages;
mod telegram;
mod wakeups;
mod webhooks;
