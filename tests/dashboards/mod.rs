//! Grafana's dashboards: each query works as the role that Grafana uses, and shows what it says.

mod metrics;
mod panels;
mod permissions;
mod provisioning;
