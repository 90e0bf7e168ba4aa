//! Many claim at once what costs money.

use anyhow::Result;
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::{Funded, audit, claim_funded, service, standing, usd};
use crate::support::queue::create_many;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claimers_never_hold_more_than_the_budgets_have() -> Result<()> {
    let db = Database::create().await?;
    let mut agents = Vec::new();
    for _ in 0..16 {
        agents.push(db.agent(&[]).await?);
    }
    let mut services = Vec::new();
    for n in 0..4 {
        services.push(service(&db.owner, &format!("model {n}"), "1").await?);
    }
    sqlx::query(
        "insert into devart.tasks (title, service_id, estimated_cost_usd)
         select 't', ($1::uuid[])[1 + n % 4], 0.03 from generate_series(1, 400) n",
    )
    .bind(&services)
    .execute(&db.owner)
    .await?;
    create_many(&db.owner, 100).await?;
    let work = async |agent: Uuid| -> Result<Vec<Funded>> {
        let mut session = db.session().await?;
        let mut all = Vec::new();
        loop {
            let claimed = claim_funded(&mut session, agent, 3).await?;
            if claimed.is_empty() {
                return Ok(all);
            }
            all.extend(claimed);
            assert!(all.len() <= 500, "more than there is");
        }
    };
    let claimed = futures::future::try_join_all(agents.iter().map(|agent| work(agent.id))).await?;
    let funded = claimed
        .iter()
        .flatten()
        .filter(|task| task.hold_id.is_some())
        .count();
    let free = claimed.iter().flatten().count() - funded;
    assert_eq!(free, 100, "work that costs nothing is never held up");
    for id in services {
        let now = standing(&db.owner, id).await?;
        assert!(now.held_usd <= usd("1"), "{now:?}");
        assert!(now.held_usd >= usd("0.9"), "the budget is used: {now:?}");
    }
    audit(&db.owner).await;
    Ok(())
}
