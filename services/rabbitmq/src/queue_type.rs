//! What queues are made of, which depends on the broker's version.

use lapin::types::{AMQPValue, FieldTable};

use crate::priority::HIGHEST_PRIORITY;
use crate::route::{Route, TASKS};

/// An invitation is forgotten after a day, so that a lane that nobody consumes, since its agents
/// claim their tasks, does not fill the broker. Tasks that still wait are then invited to again
/// (see `lanes`).
const INVITATION_LIFETIME_MS: u32 = 24 * 60 * 60 * 1000;

/// What queues are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Before RabbitMQ 4, whose replicated queues have no priorities.
    Classic,
    /// Before RabbitMQ 4.3: they tell critical tasks from all others, and let others through now
    /// and then.
    QuorumOfTwoPriorities,
    /// From RabbitMQ 4.3 on: each priority goes before the lower ones.
    Quorum,
}

impl QueueType {
    /// The type for a broker of this version: its first two numbers.
    pub fn of(version: (u32, u32)) -> Self {
        match version {
            (..4, _) => Self::Classic,
            (4, ..3) => Self::QuorumOfTwoPriorities,
            _ => Self::Quorum,
        }
    }

    /// What the route's last queue is declared with.
    pub fn arguments(self, route: &Route) -> FieldTable {
        let mut arguments = Arguments::default();
        arguments.text("x-queue-type", self.name());
        match route {
            Route::Lane(_) => {
                arguments.number("x-message-ttl", INVITATION_LIFETIME_MS);
                if self != Self::QuorumOfTwoPriorities {
                    arguments.number("x-max-priority", HIGHEST_PRIORITY);
                }
                if self != Self::Classic {
                    // An agent without a free hand gives messages back, and that is no failure.
                    arguments.number("x-delivery-limit", -1);
                }
            }
            Route::Delay { seconds, .. } => {
                // Steps end well below the limit (devart_core::delay::LONGEST_STEP).
                let milliseconds = u32::try_from(seconds * 1000).unwrap_or(u32::MAX);
                arguments.number("x-message-ttl", milliseconds);
                arguments.text("x-dead-letter-exchange", TASKS);
                if self != Self::Classic {
                    arguments.text("x-dead-letter-strategy", "at-least-once");
                    arguments.text("x-overflow", "reject-publish");
                }
            }
            Route::Dead => {}
        }
        arguments.0
    }

    fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::QuorumOfTwoPriorities | Self::Quorum => "quorum",
        }
    }
}

#[derive(Default)]
struct Arguments(FieldTable);

impl Arguments {
    fn text(&mut self, name: &str, value: &str) {
        self.0
            .insert(name.into(), AMQPValue::LongString(value.into()));
    }

    fn number(&mut self, name: &str, value: impl Into<i64>) {
        self.0
            .insert(name.into(), AMQPValue::LongLongInt(value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(seconds: u64) -> Route {
        Route::Delay {
            lane: "todo.a+b".into(),
            seconds,
        }
    }

    fn argument(queues: QueueType, route: &Route, name: &str) -> Option<AMQPValue> {
        queues.arguments(route).inner().get(name).cloned()
    }

    #[test]
    fn a_delayed_message_is_routed_on_by_the_key_of_its_lane() {
        let route = delay(12);
        assert_eq!(route.exchange(), "devart.retry.12");
        assert_eq!(route.queue(), "tasks.retry.12");
        assert_eq!(route.routing_key(), "todo.a+b");
        let target = argument(QueueType::Classic, &route, "x-dead-letter-exchange");
        assert_eq!(target, Some(AMQPValue::LongString(TASKS.into())));
        assert_eq!(
            argument(QueueType::Classic, &route, "x-dead-letter-routing-key"),
            None
        );
    }

    #[test]
    fn the_longest_delay_fits_into_a_time_to_live() {
        let route = delay(devart_core::delay::LONGEST_STEP);
        let ttl = argument(QueueType::Classic, &route, "x-message-ttl");
        assert_eq!(ttl, Some(AMQPValue::LongLongInt(4_000_000_000)));
    }

    #[test]
    fn lanes_have_priorities_in_the_way_of_the_brokers_version() {
        let lane = Route::Lane("todo".into());
        for (version, name, has_limit) in [
            ((3, 13), "classic", true),
            // A quorum queue of these refuses to be made with it.
            ((4, 0), "quorum", false),
            ((4, 2), "quorum", false),
            ((4, 3), "quorum", true),
            ((5, 0), "quorum", true),
        ] {
            let queues = QueueType::of(version);
            let made_of = argument(queues, &lane, "x-queue-type");
            assert_eq!(made_of, Some(AMQPValue::LongString(name.into())));
            let limit = argument(queues, &lane, "x-max-priority");
            assert_eq!(limit.is_some(), has_limit, "{version:?}");
        }
    }
}
