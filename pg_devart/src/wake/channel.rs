//! What listeners listen on.

use crate::pg::notify;
use crate::pg::shared_memory::shareable;

/// A name of Postgres with its end.
const SIZE: usize = notify::NAME_SIZE;

/// The channel of a topic: `devart_<topic>`, filled up with zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Channel([u8; SIZE]);

shareable!(Channel);

impl Channel {
    /// No channel.
    pub const NONE: Channel = Channel([0; SIZE]);

    /// The channel of `topic`. LISTEN cuts a name after 63 bytes, so the name is cut here too.
    pub fn of(topic: &str) -> Self {
        let name = format!("devart_{topic}");
        let name = &name[..name.floor_char_boundary(SIZE - 1)];
        let mut bytes = [0; SIZE];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Channel(bytes)
    }

    /// Sends a notification when this transaction commits.
    ///
    /// Raises the error of Postgres when its queue of notifications is full.
    pub fn notify(&self) {
        notify::notify(self.name());
    }

    fn name(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(SIZE);
        std::str::from_utf8(&self.0[..length]).expect("made from text, cut between characters")
    }
}
