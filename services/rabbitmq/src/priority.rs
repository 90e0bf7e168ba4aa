//! How urgent tasks are, in the database's words and in the broker's numbers.

use serde::Deserialize;

/// How urgent a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Priority {
    Critical,
    High,
    Medium,
    Low,
}

/// The number of the most urgent tasks' messages.
pub const HIGHEST_PRIORITY: u8 = 5;

impl Priority {
    /// What the broker orders messages by. Some tell only numbers up to 4 from those above it,
    /// which makes the difference where it matters most.
    pub fn number(self) -> u8 {
        match self {
            Self::Critical => HIGHEST_PRIORITY,
            Self::High => 3,
            Self::Medium => 2,
            Self::Low => 1,
        }
    }

    /// The value's name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}
