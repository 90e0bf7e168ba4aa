//! Money: what services cost, who may spend it, and who spent it.
//!
//! `gate` decides; `charge`, `reserve`, `dispatched`, `extend`, `settle` and `release` are what
//! callers see. Lock order:
//! sql/idempotent/310_money_windows.sql.

mod answer;
mod budgets;
mod candidate;
mod charge;
mod cost;
mod dispatched;
mod estimate;
mod extend;
mod gate;
mod held_limit;
mod hold;
mod idempotency;
mod ledger;
mod payer;
mod prices;
mod release;
mod reserve;
mod settle;
mod take;

pub mod claim;
pub mod deferrals;
pub mod usd;
