//! Private servers for the tests and the bench: a Postgres cluster, a RabbitMQ node. Each ends with the
//! value that stands for it, and with the process that started it, however that ends.

pub mod broker;
pub mod certificate;
pub mod cluster;
pub mod guard;
pub mod wait;
