//! An agent of the SDK at a broker that knows it by its own login.

use std::process::Stdio;

use anyhow::{Result, ensure};
use serde_json::json;

use super::python;
use crate::support::broker::Queues;
use crate::support::own_logins::OwnLogins;
use crate::support::queue::create;
use crate::support::wait::eventually;

#[tokio::test]
async fn an_agent_with_nothing_but_its_key_takes_tasks_by_message() -> Result<()> {
    let own = OwnLogins::start().await?;
    let agent = own.db.agent(&["own"]).await?;
    let mut process = python("sdk")?
        .args(["tests/slow_agent.py", &own.api.url, &agent.key, "plain"])
        .arg(own.broker.url_without_user())
        .env("PYTHONPATH", "src")
        .env("NO_PROXY", "127.0.0.1")
        .stdout(Stdio::null())
        .spawn()?;
    let queues = Queues::open(&own.broker.url()).await?;
    eventually("the agent consumes its lanes", async || {
        let all = [
            queues.consumers("tasks.todo").await?,
            queues.consumers("tasks.todo.own").await?,
        ];
        (all == [1, 1]).then_some(())
    })
    .await;
    ensure!(process.try_wait()?.is_none(), "the agent has ended");
    let task = json!({
        "title": "t", "required_capabilities": ["own"], "payload": {"seconds": 0},
    });
    let id = create(&own.db.owner, task).await?;
    eventually("the task is done", async || {
        let is_done = "select status = 'DONE' from devart.tasks where id = $1";
        let done = sqlx::query_scalar::<_, bool>(is_done).bind(id);
        done.fetch_one(&own.db.owner).await.ok()?.then_some(())
    })
    .await;
    Ok(())
}
