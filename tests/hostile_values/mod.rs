//! Throws odd values of one list at every function, every writable column and every endpoint, as
//! everybody; and then everything must still work (`support/still_works.rs`). Functions and columns
//! come from the catalog and endpoints from the API's own document, so that new ones are covered.
//!
//! Which of the many combinations are tried is drawn: `DEVART_TEST_SEED` repeats a run.

mod endpoints;
mod functions;
mod operations;
mod requests;
mod values;

/// What this run's combinations are drawn by, told when the test fails.
fn seed() -> u64 {
    let given = std::env::var("DEVART_TEST_SEED").ok();
    let seed = given
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("hostile values: DEVART_TEST_SEED={seed}");
    seed
}
