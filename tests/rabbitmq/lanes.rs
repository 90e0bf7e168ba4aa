//! Which queues tasks go to, and which agents hear of them.

use anyhow::Result;
use serde_json::json;

use super::{Push, start};
use crate::support::http::Http;
use crate::support::queue::create;
use crate::support::wait::eventually;

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
