//! What agents may do at the broker. Asked as the login role, for the broker and not for an agent.

use devart_kit::db::{self, OneTrip};
use sqlx::PgPool;
use uuid::Uuid;

/// Whether the agent may be at the broker.
pub async fn may_listen(pool: &PgPool, agent_id: Uuid) -> sqlx::Result<bool> {
    db::retrying(pool, || {
        sqlx::query_scalar("select devart_private.agent_may_listen($1)")
            .bind(agent_id)
            .fetch_one(OneTrip::Alone(pool))
    })
    .await
}

/// Whether the agent may take invitations from the queue.
pub async fn may_take_from(pool: &PgPool, agent_id: Uuid, queue: &str) -> sqlx::Result<bool> {
    db::retrying(pool, || {
        sqlx::query_scalar("select devart_private.agent_may_take_from($1, $2)")
            .bind(agent_id)
            .bind(queue)
            .fetch_one(OneTrip::Alone(pool))
    })
    .await
}
