//! Odd values for every operation of the API, in each place that takes one, as everybody. A refusal
//! is a problem document with a documented status and a code, in our words and not in Postgres'.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use rand::seq::{SliceRandom, index};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use uuid::Uuid;

use super::operations::{self, Operation, Place};
use super::requests::{Call, values_for};
use super::seed;
use crate::support::api::Api;
use crate::support::budget::{claim_funded, hold_of, reserve, service};
use crate::support::github::PAYLOAD;
use crate::support::http::{Answer, Http, send};
use crate::support::still_works::Watch;
use crate::support::{Agent, Database, run_sql};

/// About how many requests there are in all; each place has at least some.
const REQUESTS: usize = 8_000;
const LEAST_FOR_A_PLACE: usize = 8;
const AT_ONCE: usize = 8;

/// A body that is refused before it is read (nobody may send it) can cost its client the answer.
const LARGE_BYTES: usize = 64 * 1024;

/// With these, Postgres or what speaks with it talks, and not devart.
const OTHERS_WORDS: &[&str] = &[
    "violates",
    "check constraint",
    "unique constraint",
    "invalid input syntax",
    "out of range for type",
    "null value in column",
    "relation \"",
    "sqlstate",
    "plpgsql",
    "pl/pgsql",
    "devart_private",
    "sqlx",
    "panicked",
    "backtrace",
];

/// What there is to name in requests.
struct World {
    db: Database,
    api: Api,
    callers: Vec<(&'static str, Http)>,
    /// Tasks in the agent's hands.
    leases: Vec<(Uuid, Uuid)>,
    tasks: Vec<Uuid>,
    approvals: Vec<Uuid>,
    budgets: Vec<Uuid>,
    holds: Vec<Uuid>,
    charges: Vec<Uuid>,
    prices: Vec<Uuid>,
    service: Uuid,
    /// Not one of the callers: it may be deactivated, and its key deleted.
    victim: Agent,
    constraints: Vec<String>,
}

impl World {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let settings = [
            ("API_RATE_LIMIT_PER_PRINCIPAL", "1000000"),
            ("API_RATE_LIMIT_PER_ADDRESS", "1000000"),
        ];
        let api = Api::start_with(&db.authenticator_url(), &settings).await?;
        let agent = db.agent(&["hostile"]).await?;
        let service = service(&db.owner, "hostile", "1000").await?;
        let leases = leases(&db, &agent).await?;
        let holds = holds(&db, &agent, service).await?;
        let things = format!(
            "select devart.set_service_price('{service}', 'request', 0.01);
             select devart.set_service_price('{service}', 'unit_' || n, 1)
             from generate_series(1, 40) n;
             select devart.charge_service('{service}', 0.01);
             insert into devart.budgets (scope, scope_id, budget_usd)
             select 'user', gen_random_uuid(), 5 from generate_series(1, 20);
             select devart.create_task('victim ' || n, max_retries => 100)
             from generate_series(1, 200) n;
             select devart.create_task('asking ' || n, needs_approval => true)
             from generate_series(1, 40) n"
        );
        run_sql(&mut db.session().await?, things).await?;
        let ids = async |sql: &'static str| -> sqlx::Result<Vec<Uuid>> {
            sqlx::query_scalar(sql).fetch_all(&db.owner).await
        };
        Ok(Self {
            callers: callers(&db, &api, &agent).await?,
            leases,
            tasks: ids("select id from devart.tasks where status = 'TODO'").await?,
            approvals: ids("select id from devart.approvals").await?,
            budgets: ids("select id from devart.budgets").await?,
            prices: ids("select id from devart.service_prices where unit <> 'request'").await?,
            charges: ids("select id from devart.charges where kind = 'settle'").await?,
            holds,
            service,
            victim: db.agent(&[]).await?,
            constraints: constraints(&db).await?,
            api,
            db,
        })
    }

    /// A value that makes sense under this name in this path; null when there is none of ours.
    /// `number`: which of many.
    fn sensible(&self, path: &str, name: &str, number: usize) -> Value {
        let one_of = |ids: &[Uuid]| json!(ids[number % ids.len()]);
        let (task, lease) = self.leases[number % self.leases.len()];
        let of_a_lease = ["/status", "/report-failure", "/extend-lease"];
        match name {
            "id" if path.starts_with("/api/agents") => json!(self.victim.id),
            "id" if path.starts_with("/api/services") => json!(self.service),
            "id" if path.starts_with("/api/approvals") => one_of(&self.approvals),
            "id" if path.starts_with("/api/budgets") => one_of(&self.budgets),
            "id" if of_a_lease.iter().any(|end| path.ends_with(end)) => json!(task),
            "id" if path.starts_with("/api/tasks") => one_of(&self.tasks),
            "hold_id" => one_of(&self.holds),
            "charge_id" => one_of(&self.charges),
            "price_id" => one_of(&self.prices),
            "key" => json!("retry_base_seconds"),
            "key_id" => json!(self.victim.key_id),
            "task_id" => json!(task),
            "lease_token" => json!(lease),
            "service_id" => json!(self.service),
            "value" => json!(5),
            "unit" => json!("request"),
            "usage" => json!({"request": 1}),
            "amount_usd" | "estimate_usd" | "more_usd" => json!(0.01),
            "grant_type" => json!("password"),
            "body" if path.starts_with("/api/webhooks/") => {
                serde_json::from_str(PAYLOAD).expect("GitHub's own example")
            }
            _ => Value::Null,
        }
    }

    async fn send(&self, call: &Call<'_>, number: usize) -> Result<Answer> {
        let sensible = |name: &str| self.sensible(&call.operation.path, name, number);
        send(call.request(&self.callers, &sensible)).await
    }

    /// What is wrong with an answer.
    fn fault(&self, operation: &Operation, answer: &Answer) -> Option<String> {
        let status = answer.status;
        if status >= 500 && status != 503 {
            return Some(format!("answers {}", answer.said()));
        }
        if !operation.statuses.contains(&status) {
            return Some(format!("does not document {status}: {}", answer.said()));
        }
        if status < 400 {
            return None;
        }
        if !is_problem(answer) {
            return Some(format!("answers {status} and no problem: {}", answer.text));
        }
        let text = answer.text.to_lowercase();
        let names = self.constraints.iter().map(String::as_str);
        let mut words = OTHERS_WORDS.iter().copied().chain(names);
        let word = words.find(|word| text.contains(word))?;
        Some(format!("speaks of {word}: {}", answer.text))
    }
}

/// RFC 9457 with a code for programs.
fn is_problem(answer: &Answer) -> bool {
    let text = |member: &str| answer.body[member].as_str().unwrap_or_default();
    let is_code = |code: &str| {
        let mut letters = code.bytes();
        !code.is_empty() && letters.all(|letter| letter.is_ascii_lowercase() || letter == b'_')
    };
    answer.header("content-type") == "application/problem+json"
        && answer.body["status"] == answer.status
        && is_code(text("code"))
        && !text("title").is_empty()
        && !text("detail").is_empty()
}

async fn callers(db: &Database, api: &Api, agent: &Agent) -> Result<Vec<(&'static str, Http)>> {
    let deactivated = db.agent(&[]).await?;
    sqlx::query("select devart.set_agent_activation($1, false)")
        .bind(deactivated.id)
        .execute(&db.owner)
        .await?;
    Ok(vec![
        ("anonymous", api.anonymous.clone()),
        ("viewer", api.client(db.person("viewer").await?)),
        ("supervisor", api.client(db.person("supervisor").await?)),
        ("admin", api.client(db.person("admin").await?)),
        ("agent", api.agent(agent)),
        ("another agent", api.agent(&db.agent(&["hostile"]).await?)),
        ("deactivated agent", api.agent(&deactivated)),
        (
            "deactivated agent with a token",
            api.client(deactivated.caller()),
        ),
    ])
}

/// Tasks that the agent has, with their tokens.
async fn leases(db: &Database, agent: &Agent) -> Result<Vec<(Uuid, Uuid)>> {
    let leased = "select devart.create_task('leased ' || n, max_retries => 100)
                  from generate_series(1, 200) n";
    run_sql(&mut db.session().await?, leased.to_owned()).await?;
    let mut session = db.session_as(agent.caller()).await?;
    let mut leases = Vec::new();
    for _ in 0..2 {
        let claimed = claim_funded(&mut session, agent.id, 100).await?;
        leases.extend(claimed.iter().map(|task| (task.task_id, task.lease_token)));
    }
    ensure!(!leases.is_empty(), "the agent has tasks");
    Ok(leases)
}

async fn holds(db: &Database, agent: &Agent, service: Uuid) -> Result<Vec<Uuid>> {
    let mut session = db.session_as(agent.caller()).await?;
    let mut holds = Vec::new();
    for _ in 0..60 {
        holds.push(hold_of(&reserve(&mut session, service, "0.5").await?));
    }
    Ok(holds)
}

/// The names that no answer may tell.
async fn constraints(db: &Database) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select distinct conname::text from pg_constraint
         where connamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)",
    )
    .fetch_all(&db.owner)
    .await
}

/// A place, and the values that were drawn for it, each with who sends it.
struct Drawn<'a> {
    operation: &'a Operation,
    place: &'a Place,
    values: Vec<(usize, Vec<u8>)>,
}

/// Draws from all that could be sent, some for each place.
fn draw<'a>(operations: &'a [Operation], callers: usize, random: &mut StdRng) -> Vec<Drawn<'a>> {
    let places: usize = operations
        .iter()
        .map(|operation| operation.places.len())
        .sum();
    let for_each = (REQUESTS / places).max(LEAST_FOR_A_PLACE);
    let mut drawn = Vec::new();
    for operation in operations {
        for place in &operation.places {
            let all = values_for(place, operation);
            let combinations = all.len() * callers;
            let picked = index::sample(random, combinations, for_each.min(combinations));
            let values = picked
                .into_iter()
                .map(|picked| (picked % callers, all[picked / callers].clone()));
            drawn.push(Drawn {
                operation,
                place,
                values: values.collect(),
            });
        }
    }
    drawn
}

fn calls<'a>(drawn: &'a [Drawn<'a>], random: &mut StdRng) -> Vec<Call<'a>> {
    let calls = drawn.iter().flat_map(|drawn| {
        drawn.values.iter().map(|(caller, value)| Call {
            operation: drawn.operation,
            place: drawn.place,
            caller: *caller,
            value,
        })
    });
    let mut calls: Vec<Call> = calls.collect();
    calls.shuffle(random);
    calls
}

/// What was sent and what was wrong with the answer, for people.
fn told(world: &World, call: &Call, fault: &str) -> String {
    let value = String::from_utf8_lossy(call.value);
    let beginning: String = value.chars().take(100).collect();
    let (method, path) = (&call.operation.method, &call.operation.path);
    let (caller, place) = (world.callers[call.caller].0, call.place);
    format!("{method} {path} by {caller}, {place:?} = {beginning}: {fault}")
}

/// Sends all, some at once; gives the faults, and the calls that others kept from an answer.
async fn send_all<'a>(world: &World, calls: &[Call<'a>]) -> (BTreeSet<String>, Vec<Call<'a>>) {
    let answers = stream::iter(calls.iter().enumerate())
        .map(|(number, call)| async move { (call, world.send(call, number).await) })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut faults, mut unanswered) = (BTreeSet::new(), Vec::new());
    for (call, answer) in answers {
        // A connection may end with the request before, which was refused before it was read.
        let Ok(answer) = answer else {
            unanswered.push(*call);
            continue;
        };
        if answer.status == 503 {
            unanswered.push(*call);
        }
        let fault = world.fault(call.operation, &answer);
        faults.extend(fault.map(|fault| told(world, call, &fault)));
    }
    (faults, unanswered)
}

/// Sends alone what others kept from an answer: an odd value is no reason for having none.
async fn send_again(world: &World, unanswered: &[Call<'_>]) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    for call in unanswered {
        let fault = match world.send(call, 0).await {
            Ok(answer) if answer.status == 503 => Some(answer.said()),
            Ok(answer) => world.fault(call.operation, &answer),
            Err(_) if call.value.len() > LARGE_BYTES => None,
            Err(error) => Some(format!("{error:#}")),
        };
        faults.extend(fault.map(|fault| told(world, call, &fault)));
    }
    faults
}

#[tokio::test]
async fn whatever_is_sent_to_the_api_is_answered_as_documented_and_all_still_works() -> Result<()> {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::create().await?;
    let watch = Watch::begin(&world.db).await?;
    let known =
        |path: &str, name: &str| Some(world.sensible(path, name, 0)).filter(|it| !it.is_null());
    let operations = operations::all(&world.api.anonymous, known).await?;
    ensure!(operations.len() > 35, "the operations of the API");
    let drawn = draw(&operations, world.callers.len(), &mut random);
    let calls = calls(&drawn, &mut random);
    ensure!(calls.len() > 3_000, "only {} requests", calls.len());

    let (mut faults, unanswered) = send_all(&world, &calls).await;
    faults.extend(send_again(&world, &unanswered).await);
    assert!(
        faults.is_empty(),
        "{} of {}, DEVART_TEST_SEED={seed}: {faults:#?}",
        faults.len(),
        calls.len()
    );
    world.api.anonymous.get("/readyz").await?.expect(200);
    let outcome = watch.still_works(&world.db).await;
    outcome.with_context(|| format!("DEVART_TEST_SEED={seed}"))
}
