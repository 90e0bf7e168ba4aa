//! A message about a task: as the database writes it, and as RabbitMQ gets it.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::priority::Priority;
use crate::route::{LONGEST_NAME, Route};

const PERSISTENT: u8 = 2;

/// Headers must fit into one frame, so there the reason is cut; the body has all of it.
const REASON_IN_HEADER_CHARS: usize = 1_000;

/// No trace is longer. What is, would not fit into the frame of the headers.
const LONGEST_TRACEPARENT: usize = 1_000;

/// The payload of topic `rabbitmq.task` (sql/idempotent/700_bridge_rabbitmq.sql).
#[derive(Debug, Clone, Deserialize)]
pub struct TaskMessage {
    pub kind: Kind,
    pub task_id: Uuid,
    /// The attempt that the message invites to; for dead: the last one.
    pub attempt: i32,
    pub title: String,
    pub priority: Priority,
    /// The lane that the task is in.
    pub routing_key: String,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub run_at: Option<OffsetDateTime>,
    pub reason: Option<String>,
    pub traceparent: Option<String>,
}

/// What a message says of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It can be started.
    Invite,
    /// It can be started from `run_at` on.
    Delay,
    /// It failed for good.
    Dead,
}

impl TaskMessage {
    /// The way of the message at the moment `now`.
    pub fn route(&self, now: OffsetDateTime) -> Route {
        let lane = self.routing_key.clone();
        match (self.kind, self.run_at) {
            (Kind::Dead, _) => Route::Dead,
            (Kind::Delay, Some(run_at)) if run_at > now => Route::Delay {
                lane,
                seconds: devart_core::delay::delay_step((run_at - now).as_seconds_f64()),
            },
            _ => Route::Lane(lane),
        }
    }

    /// What keeps the message from ever being sent that way, if anything does: the broker would end
    /// the whole connection for it.
    pub fn obstacle(&self, route: &Route) -> Option<String> {
        let names = [
            ("the routing key", route.routing_key().len()),
            ("the name of the queue", route.longest_queue_name()),
        ];
        for (what, length) in names {
            if length > LONGEST_NAME {
                return Some(format!(
                    "{what} has {length} bytes, and RabbitMQ takes {LONGEST_NAME}"
                ));
            }
        }
        let trace = self.traceparent.as_ref().map_or(0, String::len);
        (trace > LONGEST_TRACEPARENT).then(|| {
            format!(
                "traceparent has {trace} bytes, and headers have room for {LONGEST_TRACEPARENT}"
            )
        })
    }

    /// The same for each delivery of the message, so that whoever gets it twice can know.
    pub fn message_id(&self) -> String {
        format!("{}:{}", self.task_id, self.attempt)
    }

    /// What agents read.
    pub fn body(&self) -> Vec<u8> {
        let mut body = json!({
            "task_id": self.task_id, "attempt": self.attempt, "title": self.title,
            "priority": self.priority.name(),
        });
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        body.to_string().into_bytes()
    }

    /// What the broker reads.
    pub fn properties(&self) -> BasicProperties {
        BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(self.message_id().into())
            .with_priority(self.priority.number())
            .with_headers(self.headers())
    }

    fn headers(&self) -> FieldTable {
        let mut headers = FieldTable::default();
        let mut add = |name: &str, value: &str| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        if let Some(traceparent) = &self.traceparent {
            add("traceparent", traceparent);
        }
        if let Some(reason) = &self.reason {
            let start: String = reason.chars().take(REASON_IN_HEADER_CHARS).collect();
            add("x-devart-reason", &start);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use time::Duration;

    use super::*;

    fn message(changes: Value) -> TaskMessage {
        let mut payload = json!({
            "kind": "invite", "task_id": "01890000-0000-7000-8000-000000000000", "attempt": 2, "title": "t",
            "priority": "HIGH", "routing_key": "todo.a", "run_at": null, "reason": null, "traceparent": null,
        });
        let object = payload.as_object_mut().expect("an object");
        object.extend(changes.as_object().expect("an object").clone());
        serde_json::from_value(payload).expect("a message")
    }

    #[test]
    fn a_delay_is_rounded_up_to_a_step_and_keeps_its_lane() {
        let delayed = message(json!({"kind": "delay", "run_at": "2026-01-01T00:00:10.5+00:00"}));
        let run_at = delayed.run_at.expect("a time");
        let route = |seconds| delayed.route(run_at - Duration::seconds_f64(seconds));
        assert_eq!(
            route(10.5),
            Route::Delay {
                lane: "todo.a".into(),
                seconds: 12
            }
        );
        assert_eq!(
            route(0.1),
            Route::Delay {
                lane: "todo.a".into(),
                seconds: 1
            }
        );
    }

    #[test]
    fn a_delay_that_has_passed_while_the_broker_was_away_is_an_invitation() {
        let delayed = message(json!({"kind": "delay", "run_at": "2026-01-01T00:00:10+00:00"}));
        let run_at = delayed.run_at.expect("a time");
        assert_eq!(delayed.route(run_at), Route::Lane("todo.a".into()));
    }

    #[test]
    fn the_body_has_what_agents_need_and_the_reason_only_of_the_dead() {
        let body =
            |message: TaskMessage| serde_json::from_slice::<Value>(&message.body()).expect("JSON");
        assert_eq!(
            body(message(json!({}))),
            json!({"task_id": "01890000-0000-7000-8000-000000000000", "attempt": 2, "title": "t", "priority": "HIGH"})
        );
        let dead = message(json!({"kind": "dead", "reason": "it broke"}));
        assert_eq!(body(dead)["reason"], "it broke");
    }

    #[test]
    fn a_long_reason_is_cut_in_the_header_only() {
        let dead = message(json!({"kind": "dead", "reason": "ü".repeat(10_000)}));
        let properties = dead.properties();
        let headers = properties.headers().clone().expect("headers");
        let reason = headers
            .inner()
            .get("x-devart-reason")
            .and_then(|it| it.as_long_string());
        assert_eq!(reason.expect("a reason").len(), 2 * REASON_IN_HEADER_CHARS);
        assert!(dead.body().len() > 20_000);
    }

    #[test]
    fn what_fits_into_no_frame_is_named_before_it_is_sent() {
        let obstacle = |changes: Value| {
            let message = message(changes);
            message.obstacle(&message.route(OffsetDateTime::UNIX_EPOCH))
        };
        assert_eq!(obstacle(json!({})), None);
        for length in [250, 300, 70_000] {
            let lane = json!({"routing_key": "a".repeat(length)});
            assert!(obstacle(lane).is_some(), "{length}");
        }
        let delay = json!({
            "kind": "delay", "run_at": "2026-01-01T00:00:00Z", "routing_key": "a".repeat(250)
        });
        assert!(obstacle(delay).is_some_and(|it| it.contains("queue")));
        let trace = json!({"traceparent": "0".repeat(200_000)});
        assert!(obstacle(trace).is_some_and(|it| it.contains("traceparent")));
    }

    #[test]
    fn priorities_fall_from_critical_to_low_and_only_critical_is_above_4() {
        let numbers = ["CRITICAL", "HIGH", "MEDIUM", "LOW"].map(|priority| {
            let properties = message(json!({"priority": priority})).properties();
            properties.priority().expect("a priority")
        });
        assert!(numbers.is_sorted_by(|one, other| one > other));
        assert!(numbers[0] > 4 && numbers[1] <= 4, "{numbers:?}");
    }
}
