//! `devart with-assertions`: a command under a PostgreSQL that checks itself while it runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::postgres::VARIABLE;
use crate::progress::stage;
use crate::setup::assertions;

/// Builds that PostgreSQL unless it is there, then becomes the command with `DEVART_PG` naming it.
pub fn run(layout: &Layout, command: &[OsString]) -> Result<()> {
    layout.create()?;
    let log = layout.log_file("setup");
    let pg_config = stage("assertions", |it| assertions::ensure(it, &log))?;
    let (program, arguments) = command.split_first().context("no command")?;
    let error = Command::new(program)
        .args(arguments)
        .env(VARIABLE, pg_config)
        .exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
