//! The HTTP gateway: REST under `/api`, GitHub webhooks, OpenAPI. Holds no business rule: whatever
//! a caller may do or not is decided in the database, under the caller's own role.

mod app;
mod auth;
mod broker_door;
pub mod config;
mod data;
mod error;
mod http;
mod limits;
mod maintenance;
mod model;
mod openapi;
mod pools;
mod routes;
mod server;
mod state;
mod turns;
mod waiting_room;

pub use server::serve;
