//! Agents and their keys.

use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Limit, Listed, Page, page};
use crate::model::agent::{Agent, AgentFilter, IssuedKey, NewAgent, RegisteredAgent};
use crate::model::scalar::Timestamp;

macro_rules! agent_columns {
    () => {
        "id, name, capabilities, status::text as status, version, last_heartbeat_at,
         active_task_count, devart.readable_json(detail) as detail, created_by, created_at"
    };
}

const ACTIVATE: &str = concat!(
    "select ",
    agent_columns!(),
    " from devart.set_agent_activation($1, $2)"
);

/// Registers an agent and makes its first key.
pub async fn register(db: &mut PgConnection, agent: &NewAgent) -> sqlx::Result<RegisteredAgent> {
    let Json(registered) = sqlx::query_scalar("select devart.register_agent($1, $2, $3)")
        .bind(&agent.name)
        .bind(&agent.capabilities)
        .bind(&agent.version)
        .fetch_one(db)
        .await?;
    Ok(registered)
}

impl Listed for Agent {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// The agents the caller may see, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &AgentFilter,
    limit: Limit,
) -> sqlx::Result<Page<Agent>> {
    let columns = concat!(
        "select ",
        agent_columns!(),
        " from devart.agents where true"
    );
    let mut query = QueryBuilder::<Postgres>::new(columns);
    if let Some(status) = filter.status {
        query
            .push(" and status = ")
            .push_bind(status.as_str())
            .push("::text::devart.agent_status");
    }
    page(db, query, filter.cursor, limit).await
}

/// What an agent can do; none when the caller may not know.
pub async fn capabilities(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Vec<String>>> {
    sqlx::query_scalar("select capabilities from devart.agents where id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
}

/// Puts an agent in or out of service.
pub async fn set_activation(db: &mut PgConnection, id: Uuid, active: bool) -> sqlx::Result<Agent> {
    sqlx::query_as(ACTIVATE)
        .bind(id)
        .bind(active)
        .fetch_one(db)
        .await
}

/// Makes another key for an agent.
pub async fn rotate_key(
    db: &mut PgConnection,
    id: Uuid,
    expires_at: Option<Timestamp>,
) -> sqlx::Result<IssuedKey> {
    let Json(key) = sqlx::query_scalar("select devart.rotate_agent_key($1, $2)")
        .bind(id)
        .bind(expires_at)
        .fetch_one(db)
        .await?;
    Ok(key)
}

/// Revokes a key at once.
pub async fn revoke_key(db: &mut PgConnection, id: Uuid, key_id: &str) -> sqlx::Result<()> {
    sqlx::query("select devart.revoke_agent_key($1, $2)")
        .bind(id)
        .bind(key_id)
        .execute(db)
        .await?;
    Ok(())
}
