//! `devart user add`: an account for a person.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use sqlx::Connection;

use crate::installation::Installation;
use crate::layout::Layout;
use crate::people::{self, Role};
use crate::random;

/// Makes the account, or changes its role. The password comes from standard input with
/// `password_stdin`, else it is made up for a new account and printed once.
pub async fn add(layout: &Layout, email: &str, role: Role, password_stdin: bool) -> Result<()> {
    let mut connection = Installation::open(layout)?.connect().await?;
    let is_new = !people::exists(&mut connection, email).await?;
    let made_up = (is_new && !password_stdin).then(|| random::word(20));
    let given = password_stdin.then(read_password).transpose()?;
    people::put(
        &mut connection,
        email,
        made_up.as_deref().or(given.as_deref()),
        role,
    )
    .await?;
    connection.close().await?;
    say!(
        "{email} is {} {}",
        if is_new { "a new" } else { "now" },
        role.name()
    );
    if let Some(password) = made_up {
        say!("password: {password}");
    }
    Ok(())
}

fn read_password() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        // Not to standard output, which may be a file.
        let _ = write!(std::io::stderr(), "password (will be shown): ");
    }
    let mut line = String::new();
    input
        .lock()
        .read_line(&mut line)
        .context("reading the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    people::require_password(password)?;
    Ok(password.to_owned())
}
