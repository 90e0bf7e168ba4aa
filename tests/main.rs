//! What crosses the boundaries of devart's parts, with real processes: races, restarts, permissions,
//! dump and restore, the API, the SDK. One file per behaviour, a folder where a part has several.
//!
//! Needs the extension installed (`devart setup`) and the services built
//! (`cargo build --release --bins`); `make test` does both.

mod support;

mod alert_topics;
mod api_behaviour;
mod api_budgets;
mod api_endurance;
mod api_input;
mod api_permissions;
mod api_sessions;
mod approval_subjects;
mod approvals;
mod argument_errors;
mod budget_claim;
mod budget_crash;
mod budget_model;
mod budget_race;
mod budget_scopes;
mod budget_windows;
mod caller_cleanup;
mod chaos;
mod claim_order;
mod claim_race;
mod claim_recall;
mod creation;
mod dashboards;
mod database_urls;
mod dead_connections;
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
mod native_errors;
mod native_looks;
mod native_source;
mod outbox;
mod planner_switches;
mod privileges;
mod rabbitmq;
mod restart;
mod schema_lints;
mod sdk;
mod setting_defaults;
mod sql_enums;
mod task_messages;
mod telegram;
mod wakeups;
mod webhooks;
