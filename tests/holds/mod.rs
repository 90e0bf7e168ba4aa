//! Holds: money set aside, settled, released, expired; usage and its prices.

mod expiry;
mod keys;
mod settling;
mod usage;
