//! Whether the money adds up after everything.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use uuid::Uuid;

use super::say;
use super::world::World;
use crate::support::budget;

/// Every hold is settled once at most, every settlement that a consumer was told of is in the ledger, both services were
/// billed, and the audit finds nothing.
pub async fn check(world: &World) -> Result<()> {
    let settled = settlements(world).await?;
    for (hold, times) in &settled {
        ensure!(*times == 1, "hold {hold} was settled {times} times");
    }
    let mut told = 0;
    for (what, hold, _) in world.journals()? {
        if what == "paid" {
            told += 1;
            ensure!(
                settled.contains_key(&hold),
                "the settlement of hold {hold} was lost"
            );
        }
    }
    let billed: i64 =
        sqlx::query_scalar("select count(*) from devart.service_registry where spent_usd > 0")
            .fetch_one(&world.pool)
            .await?;
    ensure!(billed == 2, "{billed} services were billed, not both");
    say(&format!(
        "{} holds settled, {told} of them told of",
        settled.len()
    ));
    budget::audit(&world.pool).await;
    Ok(())
}

async fn settlements(world: &World) -> Result<HashMap<Uuid, i64>> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "select hold_id, greatest(count(*) filter (where kind = 'settle'), count(*) filter (where kind = 'overage'))
         from devart.charges where kind in ('settle', 'overage') and hold_id is not null group by hold_id",
    )
    .fetch_all(&world.pool)
    .await?;
    Ok(rows.into_iter().collect())
}
