//! Latencies of one or several turns, all of which count alike.

use crate::pgbench::percentile_of;

/// In microseconds.
#[derive(Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    pub fn of(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        Latencies(all)
    }

    pub fn add(&mut self, turn: &[u64]) {
        self.0.extend_from_slice(turn);
        self.0.sort_unstable();
    }

    /// In milliseconds.
    pub fn p99_ms(&self) -> f64 {
        self.percentile_ms(99.0)
    }

    /// For people: `p50 2.1 ms, p99 4.8 ms`.
    pub fn text(&self) -> String {
        let [p50, p99] = [50.0, 99.0].map(|percentile| self.percentile_ms(percentile));
        format!("p50 {p50:.1} ms, p99 {p99:.1} ms")
    }

    fn percentile_ms(&self, percentile: f64) -> f64 {
        percentile_of(&self.0, percentile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_turn_counts_as_any_other() {
        let mut latencies = Latencies::default();
        for milliseconds in [2, 90, 4] {
            latencies.add(&[milliseconds * 1000; 10]);
        }
        assert_eq!(latencies.text(), "p50 4.0 ms, p99 90.0 ms");
        assert_eq!(latencies.p99_ms(), 90.0);
    }

    #[test]
    fn their_order_does_not_matter() {
        assert_eq!(
            Latencies::of(vec![3000, 1000]).text(),
            "p50 1.0 ms, p99 3.0 ms"
        );
    }
}
