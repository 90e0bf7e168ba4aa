//! Random sequences of everything that moves money, against a model that says what must come of it.
//!
//! `DEVART_TEST_SEED` repeats a run; `DEVART_TEST_SEQUENCES` sets how many there are.

mod database;
mod model;
mod step;

use std::io::Write;

use anyhow::Result;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use database::MoneyDatabase;
use model::Model;

const SEQUENCES: u32 = 2_000;
/// Rolled back sequences leave dead rows, which the audit would read.
const VACUUM_EVERY: u32 = 100;

#[test]
fn random_sequences_end_as_the_model_says() -> Result<()> {
    let sequences = number("DEVART_TEST_SEQUENCES").map_or(SEQUENCES, |n| n as u32);
    let seed = number("DEVART_TEST_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    // Past the capturing of a test's output: it is wanted of runs that succeed, too.
    writeln!(
        std::io::stderr(),
        "budget model: {sequences} sequences, DEVART_TEST_SEED={seed}"
    )?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut database = runtime.block_on(MoneyDatabase::create())?;
    let config = Config {
        cases: sequences,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        TestRng::from_seed(RngAlgorithm::ChaCha, &bytes(seed)),
    );
    let state = std::cell::RefCell::new((&mut database, 0_u32));
    let outcome = runner.run(&step::sequences(), |(limits, agent, steps)| {
        let (database, count) = &mut *state.borrow_mut();
        *count += 1;
        let played = runtime.block_on(async {
            if count.is_multiple_of(VACUUM_EVERY) {
                database.vacuum().await?;
            }
            database.play(Model::new(limits, agent), &steps).await
        });
        played.map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    runtime.block_on(async { drop(database) });
    outcome.map_err(|error| anyhow::anyhow!("with DEVART_TEST_SEED={seed}: {error}"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}
