//! Money over HTTP: the gate, settlement, budgets, prices, and who may do what.

mod gate;
mod roles;
mod tasks;
