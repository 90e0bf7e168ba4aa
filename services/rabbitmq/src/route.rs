//! The ways of messages: names of exchanges and queues, which agents rely on.

use lapin::ExchangeKind;

/// The exchange of the lanes' queues.
pub const TASKS: &str = "devart.tasks";
const DEAD: &str = "devart.dead";

/// What the names of the lanes' queues begin with; those of the other queues do, too.
const OF_LANES: &str = "tasks.";

/// Names and routing keys have a byte for their length.
pub const LONGEST_NAME: usize = 255;

/// The way of a message: an exchange, a routing key, and the queue that it ends up in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Route {
    /// To the agents of a lane, by its routing key.
    Lane(String),
    /// To the agents of a lane after so many seconds.
    Delay { lane: String, seconds: u64 },
    /// To whoever looks after what failed for good.
    Dead,
}

impl Route {
    pub fn exchange(&self) -> String {
        match self {
            Self::Lane(_) => TASKS.to_owned(),
            Self::Delay { seconds, .. } => format!("devart.retry.{seconds}"),
            Self::Dead => DEAD.to_owned(),
        }
    }

    /// A delayed message keeps its lane's key, by which it is routed on when its time has come.
    pub fn routing_key(&self) -> &str {
        match self {
            Self::Lane(lane) | Self::Delay { lane, .. } => lane,
            Self::Dead => "dead",
        }
    }

    pub fn queue(&self) -> String {
        match self {
            Self::Lane(lane) => format!("{OF_LANES}{lane}"),
            Self::Delay { seconds, .. } => format!("tasks.retry.{seconds}"),
            Self::Dead => "tasks.dead".to_owned(),
        }
    }

    /// The lane whose queue may have this name.
    pub fn lane_of(queue: &str) -> Option<&str> {
        queue.strip_prefix(OF_LANES)
    }

    /// The length of the longest name of a queue that the message comes through.
    pub fn longest_queue_name(&self) -> usize {
        match self {
            Self::Delay { lane, .. } => Self::Lane(lane.clone()).queue().len(),
            Self::Lane(_) | Self::Dead => self.queue().len(),
        }
    }

    pub fn exchange_kind(&self) -> ExchangeKind {
        match self {
            Self::Lane(_) => ExchangeKind::Direct,
            Self::Delay { .. } | Self::Dead => ExchangeKind::Fanout,
        }
    }
}
