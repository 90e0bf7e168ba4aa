//! Rows that nobody can work off, put among the tasks past every rule, as an older devart or an
//! operator may have left them. Each is set aside with its reason, and nothing else suffers.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sqlx::PgPool;

use super::say;
use crate::support::run_sql;
use crate::support::wait::eventually;

/// So many with each batch of tasks.
const AT_ONCE: usize = 2;
/// A long run has no more than these.
const MOST: usize = 100;

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A task with this payload.
    Payload(&'static str),
    /// A task whose estimate is no number.
    Estimate,
    /// A task for a time that never comes.
    Endless,
    /// A message of the outbox with these members, and the reason for which it is buried.
    Message(&'static str, &'static str),
}

const KINDS: [Kind; 11] = [
    Kind::Payload("(repeat('[', 200) || repeat(']', 200))::jsonb"),
    Kind::Payload("('[' || repeat('1e131071,', 9000) || '1]')::jsonb"),
    Kind::Payload("repeat('7', 6000)::jsonb"),
    Kind::Payload(r#"'{"$serde_json::private::Number": "1"}'::jsonb"#),
    Kind::Estimate,
    Kind::Endless,
    Kind::Message(
        "jsonb_build_object('kind', 'nonsense')",
        "is no message of this topic",
    ),
    Kind::Message(
        "jsonb_build_object('title', (repeat('[', 200) || repeat(']', 200))::jsonb)",
        "is no message of this topic",
    ),
    Kind::Message(
        "jsonb_build_object('routing_key', repeat('k', 300))",
        "the routing key has 300 bytes",
    ),
    Kind::Message(
        "jsonb_build_object('traceparent', repeat('t', 200000))",
        "traceparent has 200000 bytes",
    ),
    // Its key has room in a message, and the queue of its lane cannot be declared.
    Kind::Message(
        "jsonb_build_object('routing_key', repeat('k', 252))",
        "the name of the queue has 258 bytes",
    ),
];

impl Kind {
    /// Inserts one under this name, unless it is there: whoever was cut off does not know.
    fn insert(self, name: &str) -> String {
        let unless_there =
            format!("where not exists (select from devart.tasks where title = '{name}')");
        match self {
            Kind::Payload(payload) => format!(
                "insert into devart.tasks (title, priority, payload)
                 select '{name}', 'CRITICAL', {payload} {unless_there}"
            ),
            Kind::Estimate => format!(
                "insert into devart.tasks (title, priority, service_id, estimated_cost_usd)
                 select '{name}', 'CRITICAL', s.id, 0.01 from devart.service_registry s
                 {unless_there} and s.name = 'large';
                 update devart.tasks set estimated_cost_usd = 'NaN'
                 where title = '{name}' and status = 'TODO'"
            ),
            // The triggers would refuse it.
            Kind::Endless => format!(
                "set local session_replication_role = replica;
                 insert into devart.tasks (title, priority, status, run_at)
                 select '{name}', 'CRITICAL', 'SCHEDULED', 'infinity' {unless_there}"
            ),
            Kind::Message(members, _) => format!(
                "insert into devart_private.outbox (topic, key, payload)
                 select 'rabbitmq.task', '{name}', jsonb_build_object(
                     'kind', 'invite', 'task_id', gen_random_uuid(), 'attempt', 1, 'title', 't',
                     'priority', 'HIGH', 'routing_key', 'todo') || {members}
                 where not exists (select from devart_private.outbox where key = '{name}')"
            ),
        }
    }

    /// What becomes of it, and a part of the reason that is told.
    fn fate(self) -> (&'static str, &'static str) {
        match self {
            Kind::Payload(_) => ("FAILED", "cannot be handed out: its payload must not"),
            Kind::Estimate => ("FAILED", "its money cannot be set aside"),
            Kind::Endless => ("FAILED", "run_at must be a time from 1970 to 2999"),
            Kind::Message(_, reason) => ("BURIED", reason),
        }
    }
}

/// What a run has of it.
pub struct Poison {
    /// The kinds in the order of this run.
    kinds: Vec<Kind>,
    planted: HashMap<String, Kind>,
}

impl Poison {
    pub fn new(random: &mut StdRng) -> Self {
        let mut kinds = KINDS.to_vec();
        kinds.shuffle(random);
        Self {
            kinds,
            planted: HashMap::new(),
        }
    }

    /// Puts some rows in, however often the database goes away meanwhile.
    pub async fn plant(&mut self, pool: &PgPool) {
        for _ in 0..AT_ONCE.min(MOST - self.planted.len()) {
            let number = self.planted.len();
            let (name, kind) = (
                format!("poison {number}"),
                self.kinds[number % self.kinds.len()],
            );
            let sql = include_str!("plant.sql").replace("{insert}", &kind.insert(&name));
            eventually("the poison is planted", async || {
                let planted = plant(pool, sql.clone()).await;
                planted
                    .inspect_err(|error| say(&format!("planting: {error}")))
                    .ok()
            })
            .await;
            self.planted.insert(name, kind);
        }
    }

    /// How many of the rows are tasks.
    pub fn tasks(&self) -> usize {
        let kinds = self.planted.values();
        kinds
            .filter(|kind| !matches!(kind, Kind::Message(..)))
            .count()
    }

    /// Once each row has met its fate.
    pub async fn is_over(&self, pool: &PgPool) -> Option<()> {
        let fates = fates(pool).await.ok()?;
        let is_over = |(name, kind): (&String, &Kind)| {
            let fate = fates.get(name);
            fate.is_some_and(|(fate, _)| fate == kind.fate().0)
        };
        self.planted.iter().all(is_over).then_some(())
    }

    /// Each row met its fate for its reason.
    pub async fn check(&self, pool: &PgPool) -> Result<()> {
        let fates = fates(pool).await?;
        let (found, planted) = (fates.len(), self.planted.len());
        ensure!(found == planted, "{found} of {planted} poisoned rows");
        for (name, kind) in &self.planted {
            let (fate, reason) = fates.get(name).context("a row is gone")?;
            let (expected, why) = kind.fate();
            ensure!(
                fate == expected && reason.contains(why),
                "{kind:?} is {fate}: {reason}"
            );
        }
        say(&format!("{planted} poisoned rows were set aside"));
        Ok(())
    }
}

/// All of it or nothing.
async fn plant(pool: &PgPool, sql: String) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    run_sql(&mut transaction, sql).await?;
    transaction.commit().await
}

/// By name what became of a row, and why.
async fn fates(pool: &PgPool) -> sqlx::Result<HashMap<String, (String, String)>> {
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(include_str!("fates.sql"))
        .fetch_all(pool)
        .await?;
    let fate = |(name, fate, why): (String, String, Option<String>)| {
        (name, (fate, why.unwrap_or_default()))
    };
    Ok(rows.into_iter().map(fate).collect())
}
