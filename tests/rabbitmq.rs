//! Tasks over RabbitMQ, with a real broker, the real bridge and the real API.

use anyhow::{Context, Result};
use devart_cli::ports;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues, nobodys_url, tells_all_priorities};
use crate::support::certificate::Certificate;
use crate::support::http::{Http, send};
use crate::support::queue::{create, create_many, history, status};
use crate::support::wait::eventually;
use crate::support::{Agent, Database};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A database whose messages a bridge carries to a virtual host of its own.
struct Push {
    db: Database,
    queues: Queues,
    _bridge: Bridge,
}

impl Push {
    async fn start() -> Result<Self> {
        let db = database().await?;
        let broker = Broker::shared().await?;
        let bridge = Bridge::start(&db, &broker).await?;
        let queues = Queues::open(&broker).await?;
        Ok(Self {
            db,
            queues,
            _bridge: bridge,
        })
    }

    /// An API that does nothing by itself, and an agent's client of it.
    async fn agent(&self, capabilities: &[&str]) -> Result<(Api, Http, Agent)> {
        let variables = [("API_MAINTAIN_INTERVAL_MS", "0")];
        let api = Api::start_with(&self.db.authenticator_url(), &variables).await?;
        let agent = self.db.agent(capabilities).await?;
        let client = api.agent(&agent);
        Ok((api, client, agent))
    }
}

async fn database() -> Result<Database> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    Ok(db)
}

async fn start(agent: &Http, task_id: Uuid) -> Result<Value> {
    let started = agent
        .post(&format!("/api/tasks/{task_id}/start"), json!({}))
        .await?;
    Ok(started.expect(200))
}

async fn fail(agent: &Http, started: &Value) -> Result<Value> {
    let path = format!(
        "/api/tasks/{}/report-failure",
        started["task_id"].as_str().context("an id")?
    );
    let report = json!({"lease_token": started["lease_token"], "error": "it broke"});
    Ok(agent.post(&path, report).await?.expect(200))
}

async fn complete(agent: &Http, started: &Value) -> Result<u16> {
    let path = format!(
        "/api/tasks/{}/status",
        started["task_id"].as_str().context("an id")?
    );
    let change = json!({"status": "DONE", "lease_token": started["lease_token"]});
    Ok(agent.put(&path, change).await?.status)
}

/// Rows of the outbox: how many there are, how many are buried, and how often delivering one has failed.
async fn outbox(pool: &PgPool) -> Result<(i64, i64, i32)> {
    Ok(sqlx::query_as(
        "select count(*), count(buried_at), coalesce(max(attempt), 0) from devart_private.outbox",
    )
    .fetch_one(pool)
    .await?)
}

/// Waits until the outbox is empty.
async fn wait_for_delivery(pool: &PgPool) {
    eventually("all messages are delivered", async || {
        (outbox(pool).await.ok()? == (0, 0, 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_a_full_queue_a_critical_task_created_last_is_started_next() -> Result<()> {
    let push = Push::start().await?;
    let (_api, client, agent) = push.agent(&[]).await?;
    for priority in ["LOW", "MEDIUM", "HIGH"] {
        for n in 0..20 {
            let task = json!({"title": format!("{priority} {n}"), "priority": priority});
            create(&push.db.owner, task).await?;
        }
    }
    push.queues.wait_for_count("tasks.todo", 60).await;
    let critical = json!({"title": "now", "priority": "CRITICAL"});
    let id = create(&push.db.owner, critical).await?;
    push.queues.wait_for_count("tasks.todo", 61).await;
    let message = push.queues.next("tasks.todo").await;
    assert_eq!(message.task_id(), id);
    let started = start(&client, id).await?;
    assert_eq!(started["attempt"], message.body["attempt"]);
    let holder: Uuid = sqlx::query_scalar("select agent_id from devart.tasks where id = $1")
        .bind(id)
        .fetch_one(&push.db.owner)
        .await?;
    assert_eq!(holder, agent.id);
    let mut priorities = vec!["CRITICAL".to_owned()];
    while let Some(message) = push.queues.get("tasks.todo").await? {
        priorities.push(
            message.body["priority"]
                .as_str()
                .context("a string")?
                .to_owned(),
        );
    }
    priorities.dedup();
    if tells_all_priorities()? {
        assert_eq!(priorities, ["CRITICAL", "HIGH", "MEDIUM", "LOW"]);
    } else {
        assert_eq!(priorities, ["CRITICAL", "LOW", "MEDIUM", "HIGH"], "as made");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_is_persistent_and_says_what_an_agent_needs() -> Result<()> {
    let push = Push::start().await?;
    let id = create(
        &push.db.owner,
        json!({"title": "Weigh it", "priority": "HIGH"}),
    )
    .await?;
    let message = push.queues.next("tasks.todo").await;
    let expected = json!({"task_id": id, "attempt": 1, "title": "Weigh it", "priority": "HIGH"});
    assert_eq!(message.body, expected);
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let properties = &message.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        text(properties.content_type()).as_deref(),
        Some("application/json")
    );
    assert_eq!(text(properties.message_id()), Some(format!("{id}:1")));
    assert_eq!(message.header("traceparent"), None);
    wait_for_delivery(&push.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_failed_task_is_offered_again_after_its_backoff_and_no_earlier() -> Result<()> {
    let push = Push::start().await?;
    push.db.set("retry_base_seconds", json!(1)).await?;
    let (_api, client, _) = push.agent(&["a"]).await?;
    create(
        &push.db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    let mut message = push.queues.next("tasks.todo.a").await;
    for attempt in 1..=2 {
        assert_eq!(message.body["attempt"], attempt);
        let started = start(&client, message.task_id()).await?;
        let failed = fail(&client, &started).await?;
        assert_eq!(failed["status"], "SCHEDULED");
        message.acknowledge().await?;
        let run_at = OffsetDateTime::parse(failed["run_at"].as_str().context("a time")?, &Rfc3339)?;
        // Nobody promotes the task, so this is the delayed message.
        message = push.queues.next("tasks.todo.a").await;
        assert!(OffsetDateTime::now_utc() >= run_at, "never before its time");
    }
    assert_eq!(start(&client, message.task_id()).await?["attempt"], 3);
    Ok(())
}

#[tokio::test]
async fn an_exhausted_task_is_failed_and_goes_to_the_dead_with_its_reason() -> Result<()> {
    let push = Push::start().await?;
    let (_api, client, _) = push.agent(&[]).await?;
    let id = create(&push.db.owner, json!({"title": "t", "max_retries": 0})).await?;
    let message = push.queues.next("tasks.todo").await;
    let started = start(&client, message.task_id()).await?;
    assert_eq!(fail(&client, &started).await?["status"], "FAILED");
    let dead = push.queues.next("tasks.dead").await;
    assert_eq!(dead.task_id(), id);
    assert_eq!(dead.body["reason"], "it broke");
    assert_eq!(dead.body["attempt"], 1);
    assert_eq!(dead.header("x-devart-reason").as_deref(), Some("it broke"));
    assert_eq!(status(&push.db.owner, id).await?, "FAILED");
    Ok(())
}

#[tokio::test]
async fn duplicate_and_stale_messages_do_nothing() -> Result<()> {
    let push = Push::start().await?;
    let (_api, client, agent) = push.agent(&[]).await?;
    let id = create(&push.db.owner, json!({"title": "t"})).await?;
    let message = push.queues.next("tasks.todo").await;
    push.queues.put("tasks.todo", &message.body).await?;
    push.queues
        .put(
            "tasks.todo",
            &json!({"task_id": Uuid::now_v7(), "attempt": 1}),
        )
        .await?;
    let started = start(&client, id).await?;
    let path = format!("/api/tasks/{id}/start");
    let duplicate = push.queues.next("tasks.todo").await;
    assert_eq!(
        client.post(&path, json!({})).await?.status,
        409,
        "in progress"
    );
    assert_eq!(complete(&client, &started).await?, 200);
    assert_eq!(client.post(&path, json!({})).await?.status, 409, "done");
    duplicate.acknowledge().await?;
    let unknown = push.queues.next("tasks.todo").await;
    let path = format!("/api/tasks/{}/start", unknown.task_id());
    assert_eq!(
        client.post(&path, json!({})).await?.status,
        409,
        "never existed"
    );
    assert_eq!(
        history(&push.db.owner, id).await?,
        ["TODO", "IN_PROGRESS", "DONE"]
    );
    let attempts: i32 = sqlx::query_scalar("select attempt from devart.tasks where agent_id = $1")
        .bind(agent.id)
        .fetch_one(&push.db.owner)
        .await?;
    assert_eq!(attempts, 1);
    Ok(())
}

#[tokio::test]
async fn messages_go_to_the_lanes_that_a_heartbeat_names_and_no_further() -> Result<()> {
    let push = Push::start().await?;
    let odd = "sälber machen";
    let (_api, able, _) = push.agent(&["a", "b", odd]).await?;
    let (_api2, unable, _) = push.agent(&[]).await?;
    let mut ids = Vec::new();
    for capabilities in [json!([]), json!(["b", "a"]), json!([odd])] {
        let task = json!({"title": "t", "required_capabilities": capabilities});
        ids.push(create(&push.db.owner, task).await?);
    }
    let queues_of = async |client: &Http| -> Result<Vec<String>> {
        let answer = client
            .put("/api/agents/heartbeat", json!({}))
            .await?
            .expect(200);
        Ok(serde_json::from_value(answer["queues"].clone())?)
    };
    assert_eq!(queues_of(&unable).await?, ["tasks.todo"]);
    let queues = queues_of(&able).await?;
    let [todo, a, b, of_odd, of_both] = &queues[..] else {
        panic!("{queues:?}");
    };
    assert_eq!(
        [todo, a, b, of_both],
        [
            "tasks.todo",
            "tasks.todo.a",
            "tasks.todo.b",
            "tasks.todo.a+b"
        ]
    );
    for (queue, id) in [todo, of_both, of_odd].into_iter().zip(&ids) {
        eventually("the lane has its queue", async || {
            push.queues.count(queue).await
        })
        .await;
        assert_eq!(push.queues.next(queue).await.task_id(), *id, "{queue}");
        assert_eq!(push.queues.count(queue).await, Some(0), "{queue}");
    }
    let path = format!("/api/tasks/{}/start", ids[1]);
    assert_eq!(
        unable.post(&path, json!({})).await?.status,
        409,
        "not its lane"
    );
    start(&able, ids[1]).await?;
    Ok(())
}

#[tokio::test]
async fn a_trace_goes_from_the_request_into_message_and_task() -> Result<()> {
    let push = Push::start().await?;
    let (api, client, _) = push.agent(&[]).await?;
    let supervisor = api.client(push.db.person("supervisor").await?);
    let create = supervisor
        .request(Method::POST, "/api/tasks")
        .header("traceparent", TRACE)
        .json(&json!({"title": "t"}));
    let created = send(create).await?.expect(201);
    assert_eq!(created["traceparent"], TRACE);
    let message = push.queues.next("tasks.todo").await;
    assert_eq!(message.header("traceparent").as_deref(), Some(TRACE));
    assert_eq!(
        start(&client, message.task_id()).await?["traceparent"],
        TRACE
    );

    let malformed = supervisor
        .request(Method::POST, "/api/tasks")
        .header("traceparent", "00-abc")
        .json(&json!({"title": "t"}));
    assert_eq!(
        send(malformed).await?.expect(201)["traceparent"],
        Value::Null
    );
    let refused = supervisor.post("/api/tasks", json!({"title": "t", "traceparent": "00-abc"}));
    let refused = refused.await?;
    assert_eq!(refused.problem(422), "invalid_argument");
    assert_eq!(refused.body["field"], "traceparent");
    Ok(())
}

#[tokio::test]
async fn tasks_that_waited_before_anybody_delivered_messages_are_invited() -> Result<()> {
    let db = Database::create().await?;
    create_many(&db.owner, 100).await?;
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    let broker = Broker::shared().await?;
    let _bridge = Bridge::start(&db, &broker).await?;
    let queues = Queues::open(&broker).await?;
    queues.wait_for_count("tasks.todo", 100).await;
    queues.wait_for_count("tasks.todo.a", 1).await;
    Ok(())
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_made_again_and_its_tasks_invited_again() -> Result<()> {
    let push = Push::start().await?;
    create_many(&push.db.owner, 10).await?;
    push.queues.wait_for_count("tasks.todo", 10).await;
    push.queues.delete("tasks.todo").await?;
    // Whether by the message that came back or by the next look at the lanes.
    create(&push.db.owner, json!({"title": "one more"})).await?;
    let invited = eventually("all are invited", async || {
        push.queues
            .count("tasks.todo")
            .await
            .filter(|count| *count >= 11)
    })
    .await;
    assert!(invited <= 22, "{invited} messages for 11 tasks");
    assert_eq!(outbox(&push.db.owner).await?.1, 0, "nothing is buried");
    Ok(())
}

#[tokio::test]
async fn a_waiting_task_beside_an_empty_queue_is_invited_again() -> Result<()> {
    let push = Push::start().await?;
    let id = create(&push.db.owner, json!({"title": "t"})).await?;
    push.queues.next("tasks.todo").await.acknowledge().await?;
    assert_eq!(
        push.queues.count("tasks.todo").await,
        Some(0),
        "somebody took the message and did nothing"
    );
    sqlx::query("update devart.tasks set ready_at = now() - interval '61 seconds' where id = $1")
        .bind(id)
        .execute(&push.db.owner)
        .await?;
    assert_eq!(push.queues.next("tasks.todo").await.task_id(), id);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_away_costs_delay_and_nothing_else() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let mut bridge = Bridge::start(&db, &broker.url()).await?;
    broker.kill().await;
    eventually("the bridge notices", async || {
        (!bridge.is_ready().await).then_some(())
    })
    .await;
    create_many(&db.owner, 500).await?;
    eventually("the bridge has taken what it can", async || {
        let leased: i64 =
            sqlx::query_scalar("select count(lease_token) from devart_private.outbox")
                .fetch_one(&db.owner)
                .await
                .ok()?;
        (leased > 0).then_some(())
    })
    .await;
    assert_eq!(outbox(&db.owner).await?, (500, 0, 0));
    broker.resume().await?;
    bridge.wait_until_ready().await;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 500).await;
    wait_for_delivery(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_lost_everything_is_told_again() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let mut bridge = Bridge::start(&db, &broker.url()).await?;
    create_many(&db.owner, 20).await?;
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 20).await;
    eventually("the lane has its queue", async || {
        queues.count("tasks.todo.a").await
    })
    .await;
    broker.stop().await;
    broker.lose_everything()?;
    broker.resume().await?;
    bridge.wait_until_ready().await;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 20).await;
    queues.wait_for_count("tasks.todo.a", 1).await;
    Ok(())
}

#[tokio::test]
async fn a_bridge_that_is_stopped_while_the_broker_is_away_returns_its_messages() -> Result<()> {
    let db = database().await?;
    let variables = [("OUTBOX_SHUTDOWN_GRACE_MS", "200")];
    let bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &nobodys_url()?, &variables)?;
    create_many(&db.owner, 10).await?;
    let leased = async || -> Option<i64> {
        sqlx::query_scalar("select count(lease_token) from devart_private.outbox")
            .fetch_one(&db.owner)
            .await
            .ok()
    };
    eventually("the bridge takes them", async || {
        (leased().await? == 10).then_some(())
    })
    .await;
    assert!(bridge.stop().await.success());
    assert_eq!(leased().await, Some(0));
    assert_eq!(outbox(&db.owner).await?, (10, 0, 0));
    Ok(())
}

#[tokio::test]
async fn messages_survive_a_broker_that_crashes() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let _bridge = Bridge::start(&db, &broker.url()).await?;
    create_many(&db.owner, 200).await?;
    wait_for_delivery(&db.owner).await;
    broker.kill().await;
    broker.resume().await?;
    let queues = Queues::open(&broker.url()).await?;
    let mut ids = std::collections::BTreeSet::new();
    while let Some(message) = queues.get("tasks.todo").await? {
        ids.insert(message.task_id());
    }
    assert_eq!(ids.len(), 200);
    Ok(())
}

#[tokio::test]
async fn a_queue_that_takes_nothing_is_made_anew_and_no_other_one() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.make_quorum_queue("tasks.todo").await?;
    broker.kill_at_once().await;
    broker.resume().await?;
    let variables = [("BRIDGE_CONFIRM_TIMEOUT_MS", "1000"), ("RUST_LOG", "info")];
    let mut bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &broker.url(), &variables)?;
    bridge.wait_until_ready().await;
    let other = json!({"title": "t", "required_capabilities": ["a"]});
    create_many(&db.owner, 20).await?;
    create(&db.owner, other).await?;
    wait_for_delivery(&db.owner).await;
    assert_eq!(bridge.replaced_queues().await, Some(1));
    let queues = Queues::open(&broker.url()).await?;
    let mut ids = std::collections::BTreeSet::new();
    eventually("each task has its invitation", async || {
        let message = queues
            .get("tasks.todo")
            .await
            .expect("the queue is there")?;
        ids.insert(message.task_id());
        (ids.len() == 20).then_some(())
    })
    .await;
    // Perhaps more than once: its confirm may have come too late.
    assert!(queues.count("tasks.todo.a").await >= Some(1));
    Ok(())
}

#[tokio::test]
async fn the_broker_can_be_reached_over_tls_by_those_who_trust_its_authority() -> Result<()> {
    let port = ports::any_free()?;
    let broker = Broker::start_with(|dir| {
        let made = Certificate::make(dir)?;
        Ok(format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n",
            made.authority.display(),
            made.certificate.display(),
            made.key.display(),
        ))
    })
    .await?;
    let db = database().await?;
    let url = broker.url().replace("amqp://", "amqps://");
    let url = url.replace(&format!(":{}/", broker.port()), &format!(":{port}/"));
    let authority = broker.dir().join("authority.pem");
    let trusting = [("SSL_CERT_FILE", authority.to_str().context("a path")?)];
    let mut bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &url, &trusting)?;
    bridge.wait_until_ready().await;
    create(&db.owner, json!({"title": "t"})).await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 1).await;

    // Whoever does not trust the authority gets no answer that they would believe.
    let distrusting = Bridge::launch(&db.bridge_url("rabbitmq"), &url, &[])?;
    distrusting.wait_until_it_failed_to_connect().await;
    assert!(!distrusting.is_ready().await);
    Ok(())
}
