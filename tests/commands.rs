//! The command `devart` where nothing is set up: what it is given and where it prints.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use crate::support::program;

/// `devart` in a directory where nothing is set up.
fn devart(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program::path("devart")?);
    command
        .args(arguments)
        .env("DEVART_ROOT", "/tmp")
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null());
    Ok(command)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() -> Result<()> {
    for arguments in [&["schema"][..], &["--help"], &["doctor"]] {
        let mut child = devart(arguments)?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut output = child.stdout.take().context("a pipe")?;
        output.read_exact(&mut [0; 10])?;
        drop(output);
        let output = child.wait_with_output()?;
        assert!(!said(&output).contains("panicked"), "{}", said(&output));
        let is_trouble = said(&output).contains("printed");
        assert!(!is_trouble && output.status.code().is_some(), "{output:?}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_told() -> Result<()> {
    for arguments in [&["schema"][..], &["doctor"]] {
        let full = File::options().write(true).open("/dev/full")?;
        let output = devart(arguments)?.stdout(full).output()?;
        assert!(!output.status.success());
        assert!(!said(&output).contains("panicked"), "{}", said(&output));
        let is_told = said(&output).contains("No space left") || arguments == ["doctor"];
        assert!(is_told, "{}", said(&output));
    }
    Ok(())
}

#[test]
fn what_makes_no_sense_is_answered_by_a_sentence() -> Result<()> {
    let long = "x".repeat(201);
    for arguments in [
        &[
            "token",
            "--role",
            "viewer",
            "--hours",
            "18446744073709551615",
        ][..],
        &["token", "--role", "viewer", "--hours", "4294967295"],
        &["token", "--role", "viewer", "--hours", "0"],
        &["agent", "register", "a\nb"],
        &["agent", "register", "a", "--capability", "b\r\nc"],
        &["agent", "register", ""],
        &["agent", "register", &long],
        &["user", "add", "a@b\n", "--role", "viewer"],
        &["user", "add", "nobody", "--role", "viewer"],
        &["outbox", "replay", "--topic", "a\nb"],
        &["outbox", "list", "--limit", "-1"],
        &["logs", "../../etc/passwd\n"],
        &["logs", "api", "-n", "18446744073709551616"],
        &["stand-in", "a\nb", "--port", "1"],
    ] {
        let output = devart(arguments)?.output()?;
        let said = said(&output);
        assert_eq!(
            output.status.code(),
            Some(if said.starts_with("error:") { 2 } else { 1 }),
            "{said}"
        );
        assert!(
            said.starts_with("error:") || said.starts_with("devart:"),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    Ok(())
}
