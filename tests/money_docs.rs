//! The example in docs/money.md answers what it says.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::support::Database;
use crate::support::budget::audit;

const DOCUMENT: &str = include_str!("../docs/money.md");

/// The block of SQL under "An example".
fn example() -> Result<&'static str> {
    let (_, rest) = DOCUMENT
        .split_once("## An example")
        .context("the example")?;
    let (_, rest) = rest.split_once("```sql\n").context("its SQL")?;
    let (sql, _) = rest.split_once("```").context("its end")?;
    Ok(sql)
}

/// What it says is answered: behind a statement, or rows of several columns on lines of their own.
fn promised(sql: &str) -> Vec<&str> {
    sql.lines()
        .filter_map(|line| match line.strip_prefix("-- ") {
            Some(comment) => comment.contains('|').then_some(comment),
            None => line.split_once("; -- ").map(|(_, answer)| answer),
        })
        .collect()
}

#[tokio::test]
async fn the_example_answers_what_it_says() -> Result<()> {
    let db = Database::create().await?;
    let sql = example()?;
    let mut command: Command = db.cluster().program("psql");
    let mut child = command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .args(["-d", &db.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("psql's input")?;
    input.write_all(sql.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "psql failed");
    let told = String::from_utf8(output.stdout)?;
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told, promised(sql));
    audit(&db.owner).await;
    Ok(())
}
