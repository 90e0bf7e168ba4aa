//! Latencies of several turns on a machine whose speed changes from minute to minute.
//!
//! What all turns together give decides; the median of the turns tells how much of it one torn turn did.

use crate::pgbench::percentile_of;

/// In microseconds, of one turn or several.
#[derive(Default)]
pub struct Latencies {
    /// Each sorted.
    turns: Vec<Vec<u64>>,
}

impl Latencies {
    pub fn of_one_turn(turn: Vec<u64>) -> Self {
        let mut latencies = Latencies::default();
        latencies.add(turn);
        latencies
    }

    pub fn add(&mut self, mut turn: Vec<u64>) {
        turn.sort_unstable();
        self.turns.push(turn);
    }

    /// The 99th percentile of all turns together, in milliseconds.
    pub fn p99_ms(&self) -> f64 {
        let mut all = self.turns.concat();
        all.sort_unstable();
        percentile_of(&all, 99.0) as f64 / 1e3
    }

    /// For people: `p50 2.1 ms, p99 4.8 ms`, and where there were several turns how they differed.
    pub fn text(&self) -> String {
        let p50 = median(&self.percentiles_ms(50.0));
        let text = format!("p50 {p50:.1} ms, p99 {:.1} ms", self.p99_ms());
        let each = self.percentiles_ms(99.0);
        match each.as_slice() {
            [lowest, .., highest] => {
                let median = median(&each);
                format!("{text} (of each turn {lowest:.1} to {highest:.1}, median {median:.1})")
            }
            _ => text,
        }
    }

    /// Of each turn, from the lowest to the highest.
    fn percentiles_ms(&self, percentile: f64) -> Vec<f64> {
        let mut each: Vec<f64> = self
            .turns
            .iter()
            .map(|turn| percentile_of(turn, percentile) as f64 / 1e3)
            .collect();
        each.sort_by(f64::total_cmp);
        each
    }
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_turn_counts_and_is_shown() {
        let mut latencies = Latencies::default();
        for milliseconds in [2, 90, 4] {
            latencies.add(vec![milliseconds * 1000; 10]);
        }
        assert_eq!(latencies.p99_ms(), 90.0);
        assert_eq!(
            latencies.text(),
            "p50 4.0 ms, p99 90.0 ms (of each turn 2.0 to 90.0, median 4.0)"
        );
    }

    #[test]
    fn of_one_turn_nothing_differs() {
        let latencies = Latencies::of_one_turn(vec![3000, 1000]);
        assert_eq!(latencies.text(), "p50 1.0 ms, p99 3.0 ms");
    }
}
