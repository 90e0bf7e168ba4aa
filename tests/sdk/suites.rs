//! Each suite of Python tests as a test of its own, so that a failure names its behaviour.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::surroundings::Surroundings;
use super::{agents, python};
use crate::support::broker::Broker;
use crate::support::budget::audit;
use crate::support::wait::ends_within;

const PATIENCE: Duration = Duration::from_secs(180);

/// Makes a test of each suite: files of one folder of `agents`.
macro_rules! suites {
    ($($name:ident: $folder:literal [$($file:literal),+])+) => {
        /// The folder and the files of each suite.
        const SUITES: &[(&str, &[&str])] = &[$(($folder, &[$($file),+])),+];

        $(
            #[tokio::test]
            async fn $name() -> Result<()> {
                passes($folder, &[$($file),+]).await
            }
        )+
    };
}

suites! {
    the_sdk_claims_creates_and_reports:
        "sdk" ["tests/test_access.py", "tests/test_claim.py", "tests/test_create.py", "tests/test_report.py"]
    the_sdk_works_until_it_is_told_to_stop:
        "sdk" ["tests/test_handler.py", "tests/test_run.py", "tests/test_signals.py"]
    the_sdk_keeps_leases_by_heartbeats:
        "sdk" ["tests/test_heartbeat.py"]
    the_sdk_asks_again_for_lost_answers:
        "sdk" ["tests/test_failing_network.py", "tests/test_lost_claims.py"]
    the_sdk_takes_verdicts_from_devart_only:
        "sdk" ["tests/test_verdicts.py"]
    the_sdk_keeps_the_failure_of_one_task_from_others:
        "sdk" ["tests/test_innocent_tasks.py", "tests/test_lost_leases.py"]
    the_sdk_stops_and_closes_when_it_is_told_to:
        "sdk" ["tests/test_stopping.py"]
    the_sdk_works_in_other_processes:
        "sdk" ["tests/test_processes.py"]
    the_sdk_works_on_an_event_loop:
        "sdk" ["tests/test_async_agent.py"]
    the_sdk_checks_arguments_and_values_where_they_are_given:
        "sdk" ["tests/test_arguments.py", "tests/test_json_form.py"]
    the_sdk_takes_tasks_by_message:
        "sdk" ["tests/test_consume.py"]
    the_sdk_connects_again_to_a_lost_broker:
        "sdk" ["tests/test_broker_login.py", "tests/test_invitations.py", "tests/test_rabbitmq.py"]
    the_sdk_sets_money_aside_and_settles_it:
        "sdk" ["tests/test_charge.py", "tests/test_spend.py", "tests/test_spend_in_coroutines.py"]
    the_sdk_spends_the_money_of_a_task:
        "sdk" ["tests/test_spend_for_a_task.py"]
    the_sdk_passes_traces_on:
        "sdk" ["tests/test_tracing.py"]
    the_sdk_reads_answers_and_errors_exactly:
        "sdk" ["tests/test_errors.py", "tests/test_exact_json.py", "tests/test_models.py"]
    the_modules_of_the_sdk_import_in_one_direction:
        "sdk" ["tests/test_imports.py"]
    the_example_of_code_review_passes_its_tests:
        "examples/code_review" ["test_review.py"]
    the_example_of_research_passes_its_tests:
        "examples/research" ["test_research.py"]
    the_example_of_a_pipeline_passes_its_tests:
        "examples/pipeline" ["test_pipeline.py"]
    the_template_passes_its_tests:
        "template" ["test_agent.py"]
}

/// Runs Python tests. One that is skipped counts as failed: here nothing is missing.
async fn passes(folder: &str, files: &[&str]) -> Result<()> {
    let surroundings = Surroundings::shared().await?;
    // Several work at the same time on queues of the same names.
    let broker = Broker::shared().await?;
    let mut suite = python(folder)?;
    suite
        .args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"])
        .args(files)
        .env_remove("RABBITMQ_URL")
        .envs(surroundings.variables(&broker));
    // One that hangs is killed with its future, and says which it was.
    let what = format!("{folder} {files:?} ends");
    let output = ends_within(PATIENCE, &what, suite.output()).await?;
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "{folder}: {said}");
    ensure!(!said.contains("skipped"), "{folder} skipped a test: {said}");
    audit(&surroundings.connections().await?).await;
    Ok(())
}

#[test]
fn every_file_of_python_tests_belongs_to_one_suite() -> Result<()> {
    let listed: Vec<String> = SUITES
        .iter()
        .flat_map(|(folder, files)| files.iter().map(move |file| format!("{folder}/{file}")))
        .collect();
    let in_suites: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), in_suites.len(), "a file is in two suites");
    let mut found = BTreeSet::new();
    test_files(&agents(), &mut found)?;
    assert_eq!(found, in_suites);
    Ok(())
}

/// Adds the files that pytest would collect below a folder, by their paths in `agents`.
fn test_files(folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy();
        if path.is_dir() && !name.starts_with('.') {
            test_files(&path, found)?;
        } else if name.starts_with("test_") && name.ends_with(".py") {
            let within = path.strip_prefix(agents())?;
            found.insert(within.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
