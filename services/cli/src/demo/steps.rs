//! A story step by step, with the time since its start.

use std::time::Instant;

/// Prints steps with the time since the start.
pub struct Steps {
    started: Instant,
}

impl Steps {
    /// Prints the title; time counts from here.
    pub fn begin(title: &str) -> Self {
        say!("{title}\n");
        Self {
            started: Instant::now(),
        }
    }

    /// Prints a step.
    pub fn say(&self, text: &str) {
        say!("  {:>6.2} s  {text}", self.started.elapsed().as_secs_f64());
    }
}
