//! Operators are those who are named so; every other role is nobody, whatever it is a member of.

use anyhow::Result;
use sqlx::{Connection, PgConnection};

use super::{World, may};
use crate::support::run_sql;

/// A login of this test alone, of the whole cluster; gone with the last line of the test.
async fn login(world: &World, name: &str, member_of: &str) -> Result<PgConnection> {
    let mut owner = world.db.session().await?;
    let sql = format!("create role {name} login password '{name}'; grant {member_of} to {name}");
    run_sql(&mut owner, sql).await?;
    let url = world.db.cluster().url_as(name, name, world.db.name());
    Ok(PgConnection::connect(&url).await?)
}

async fn forget(world: &World, session: PgConnection, name: &str) -> Result<()> {
    session.close().await?;
    run_sql(&mut world.db.session().await?, format!("drop role {name}")).await?;
    Ok(())
}

/// What only operators may do without saying in whose name, function by function.
const MANAGEMENT: &[&str] = &[
    "select devart.set_setting('max_rescues', '5')",
    "select devart.increase_budget((select id from devart.service_registry limit 1), 1)",
    "select devart.defer_service('{service}', now() + interval '1 hour')",
    "select devart.update_service('{service}', '{\"hard_limit\": false}')",
    "select devart.set_service_price('{service}', 'second', 1)",
    "select devart.correct_charge((select id from devart.charges where kind = 'settle' limit 1), 1, 'wrong')",
    "select devart.correct_service_price((select id from devart.service_prices limit 1), 2)",
    "select devart.end_service_price((select id from devart.service_prices limit 1))",
    "select devart.update_budget('{budget}', '{\"budget_usd\": 6}')",
    "select devart.delete_budget('{budget}')",
    "select devart.register_agent('new')",
    "select devart.rotate_agent_key('{agent}')",
    "select devart.revoke_agent_key('{agent}', '{key}')",
    "select devart.set_agent_activation('{agent}', false)",
    "select devart.decide_approval('{approval}', 'approve')",
    "select devart.update_task('{task}', '{\"title\": \"u\"}')",
    "select devart.cancel_task('{task}')",
    "select devart.delete_task('{task}')",
    "select devart.retry_task('{dead}')",
    "select devart.release_charge('{others_hold}')",
    "select devart.emergency_stop('why')",
    "select devart.resume_work()",
    "select devart.pause('agent', '{agent}')",
    "select devart.resume('agent', '{agent}')",
];

/// What only operators may do for an agent that they name.
const WORK: &[&str] = &[
    "select devart.claim_next_task('{agent}')",
    "select devart.start_task('{task}', '{agent}')",
    "select devart.agent_heartbeat('{agent}')",
    "select devart.complete_task('{own}', '{token}')",
    "select devart.complete_tasks(array['{own}']::uuid[], array['{token}']::uuid[])",
    "select devart.extend_lease('{own}', '{token}')",
    "select devart.release_task('{own}', '{token}')",
    "select devart.report_task_failure('{own}', '{token}', 'e')",
    "select devart.charge_service('{service}', 1)",
    "select devart.reserve_charge('{service}', 1)",
    "select devart.dispatch_task('{service}', 1)",
    "select devart.mark_dispatched('{others_hold}')",
    "select devart.extend_charge('{others_hold}', 1)",
    "select devart.settle_charge('{others_hold}', 1)",
    "select devart.release_charge('{others_hold}')",
];

#[tokio::test]
async fn a_login_that_is_a_member_of_a_callers_role_is_no_operator() -> Result<()> {
    let world = World::create().await?;
    for (name, member_of, functions) in [
        ("stranger_person", "authenticated", MANAGEMENT),
        ("stranger_agent", "devart_agent", WORK),
        (
            "stranger_both",
            "authenticated, devart_agent, anon",
            MANAGEMENT,
        ),
        ("stranger_all", "authenticated, devart_agent, anon", WORK),
    ] {
        let mut session = login(&world, name, member_of).await?;
        // Claims name people and agents only for the roles of people and agents.
        let claims = format!(
            "select set_config('request.jwt.claims', '{}', false)",
            world.callers[3].claims()
        );
        for claims in ["select 1".to_owned(), claims] {
            run_sql(&mut session, claims).await?;
            for sql in functions {
                let sql = world.fill(sql);
                assert!(!may(&mut session, None, &sql).await?, "{name}: {sql}");
            }
        }
        forget(&world, session, name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_member_of_the_role_for_operators_is_one() -> Result<()> {
    let world = World::create().await?;
    let mut session = login(&world, "named_operator", "devart_operator").await?;
    for sql in MANAGEMENT.iter().chain(WORK) {
        let sql = world.fill(sql);
        assert!(may(&mut session, None, &sql).await?, "{sql}");
    }
    for (sql, expected) in [
        ("read: select from devart.tasks", true),
        (
            "read: update devart.tasks set title = 'u' returning 1",
            true,
        ),
        ("select devart_private.maintain()", true),
        ("select * from devart_private.agent_api_keys", false),
        ("select * from auth.users", false),
        ("alter table devart.tasks add column c int", false),
    ] {
        assert_eq!(may(&mut session, None, sql).await?, expected, "{sql}");
    }
    forget(&world, session, "named_operator").await
}
