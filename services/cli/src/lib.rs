//! The `devart` command as a library: private clusters, brokers, migrations and stand-ins for the
//! tests and the bench, everything else for the program.

// They panic when nobody reads, or the disk is full; `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

// First, for its macros.
#[macro_use]
pub mod output;

pub mod bridges;
pub mod cluster;
pub mod commands;
pub mod database;
pub mod demo;
pub mod disk;
pub mod env_file;
pub mod hash;
pub mod health;
pub mod installation;
pub mod layout;
pub mod logs;
pub mod migrate;
pub mod names;
pub mod people;
pub mod ports;
pub mod postgres;
pub mod progress;
pub mod rabbitmq;
pub mod random;
pub mod run_as;
pub mod secrets;
pub mod setup;
pub mod shell;
pub mod sourced;
pub mod stand_in;
pub mod supervisor;
pub mod whose;
