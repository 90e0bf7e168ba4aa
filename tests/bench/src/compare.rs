//! Measures two things against each other on a machine whose speed changes from minute to minute.
//!
//! In turns, each beside one of the other, so that both meet the same machine. The ratio is the median
//! of the pairs: a pair that was torn by the machine does not decide.

use anyhow::Result;

use crate::cluster::BenchCluster;
use crate::pgbench::Run;

const PAIRS: usize = 5;

/// What came of it.
pub struct Compared {
    /// Mean rates, in runs of the script per second.
    pub bare: f64,
    pub devart: f64,
    /// Of `devart` to `bare`, from the lowest pair to the highest.
    ratios: Vec<f64>,
}

impl Compared {
    /// Of rates in the order of [`turns`].
    pub fn of(bare: &[f64], devart: &[f64]) -> Self {
        let mut ratios: Vec<f64> = devart.iter().zip(bare).map(|(d, b)| d / b).collect();
        ratios.sort_by(f64::total_cmp);
        Compared {
            bare: mean(bare),
            devart: mean(devart),
            ratios,
        }
    }

    /// The median of the pairs.
    pub fn ratio(&self) -> f64 {
        self.ratios[self.ratios.len() / 2]
    }

    /// For people: `0.52 of bare (0.44 to 0.58)`.
    pub fn text(&self) -> String {
        self.text_against("bare")
    }

    /// The same where what is compared with has another name.
    pub fn text_against(&self, name: &str) -> String {
        let (lowest, highest) = (self.ratios[0], self.ratios[self.ratios.len() - 1]);
        format!(
            "{:.2} of {name} ({lowest:.2} to {highest:.2})",
            self.ratio()
        )
    }
}

/// Whose turn it is, 0 for bare and 1 for devart; who goes first changes from pair to pair.
pub fn turns(pairs: usize) -> impl Iterator<Item = usize> {
    (0..pairs).flat_map(|pair| [pair % 2, (pair + 1) % 2])
}

/// Runs both in turns.
pub fn compare(cluster: &BenchCluster, bare: &Run, devart: &Run) -> Result<Compared> {
    let mut rates = [Vec::new(), Vec::new()];
    for turn in turns(PAIRS) {
        rates[turn].push([bare, devart][turn].measure(cluster)?.tps);
    }
    Ok(Compared::of(&rates[0], &rates[1]))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_torn_pair_does_not_decide() {
        let compared = Compared::of(&[100.0, 100.0, 20.0], &[50.0, 60.0, 60.0]);
        assert_eq!(compared.ratio(), 0.6);
        assert_eq!(compared.text(), "0.60 of bare (0.50 to 3.00)");
    }
}
