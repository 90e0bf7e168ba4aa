//! A migrated database for one test.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::caller::Caller;
use super::cluster::{self, DATABASE, Guarded};

/// A database that goes away with this value.
pub struct Database {
    cluster: &'static Guarded,
    name: String,
    /// Connections of the superuser.
    pub owner: PgPool,
}

/// A registered agent.
#[derive(Debug, Clone)]
pub struct Agent {
    pub id: Uuid,
    pub key: String,
    pub key_id: String,
}

impl Agent {
    /// The agent as a caller.
    pub fn caller(&self) -> Caller {
        Caller::Agent(self.id)
    }
}

impl Database {
    /// A migrated database without rows of its own.
    pub async fn create() -> Result<Self> {
        Self::copy_of(DATABASE).await
    }

    /// A database without devart.
    pub async fn empty() -> Result<Self> {
        Self::copy_of("template0").await
    }

    async fn copy_of(template: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let cluster = cluster::shared();
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        cluster.psql(
            "postgres",
            &format!("create database {name} template {template}"),
        )?;
        let owner = PgPoolOptions::new()
            .max_connections(10)
            .connect(&cluster.url(&name))
            .await?;
        Ok(Self {
            cluster,
            name,
            owner,
        })
    }

    /// The superuser's connection string.
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// The connection string of the API and PostgREST.
    pub fn authenticator_url(&self) -> String {
        self.cluster.authenticator_url(&self.name)
    }

    /// The connection string of the bridge of this name.
    pub fn bridge_url(&self, bridge: &str) -> String {
        self.cluster.bridge_url(bridge, &self.name)
    }

    /// The connection string of Grafana.
    pub fn grafana_url(&self) -> String {
        self.cluster.grafana_url(&self.name)
    }

    /// The cluster, for its programs.
    pub fn cluster(&self) -> &'static Guarded {
        self.cluster
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A session of the superuser.
    pub async fn session(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&self.url()).await
    }

    /// A session that logged in as the API does and acts for `caller` until it ends.
    pub async fn session_as(&self, caller: Caller) -> sqlx::Result<PgConnection> {
        let mut connection = PgConnection::connect(&self.authenticator_url()).await?;
        sqlx::query(
            "select set_config('role', $1, false), set_config('request.jwt.claims', $2, false)",
        )
        .bind(caller.role())
        .bind(caller.claims())
        .execute(&mut connection)
        .await?;
        Ok(connection)
    }

    /// A person with an app role.
    pub async fn person(&self, role: &str) -> sqlx::Result<Caller> {
        sqlx::query_scalar("select devart_private.put_user($1, null, $2::devart.app_role)")
            .bind(format!("{}@example.org", Uuid::now_v7()))
            .bind(role)
            .fetch_one(&self.owner)
            .await
            .map(Caller::Person)
    }

    /// A newly registered agent.
    pub async fn agent(&self, capabilities: &[&str]) -> sqlx::Result<Agent> {
        let row: Value = sqlx::query_scalar("select devart.register_agent($1, $2)")
            .bind(format!("agent {}", Uuid::now_v7()))
            .bind(capabilities)
            .fetch_one(&self.owner)
            .await?;
        let text = |member: &str| row[member].as_str().expect("a string").to_owned();
        Ok(Agent {
            id: text("id").parse().expect("a UUID"),
            key: text("api_key"),
            key_id: text("key_id"),
        })
    }

    /// Changes a setting, as an operator.
    pub async fn set(&self, key: &str, value: Value) -> sqlx::Result<()> {
        sqlx::query("select devart.set_setting($1, $2)")
            .bind(key)
            .bind(value)
            .execute(&self.owner)
            .await
            .map(drop)
    }

    /// Does what time causes; answers how much of each.
    pub async fn maintain(&self) -> sqlx::Result<Value> {
        sqlx::query_scalar("select devart_private.maintain()")
            .fetch_one(&self.owner)
            .await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("drop database {} with (force)", self.name);
        if let Err(error) = self.cluster.psql("postgres", &statement) {
            eprintln!("{} stays behind: {error}", self.name);
        }
    }
}
