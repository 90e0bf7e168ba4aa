//! `devart up` and its like, with all servers, in clones of the test's own: what is set up, whose
//! servers are stopped, and whether what `devart doctor` prints helps.
//!
//! Such a clone has what `devart` looks at and no sources of its own, so nothing is compiled.

mod arguments;
mod copies;
mod doctor;
mod life;

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use devart_tests::guard;
use serde_json::Value;
use uuid::Uuid;

use crate::support::program;

/// A clone in a directory of its own. Its servers end with this value.
struct Clone {
    /// The directory around it, which may be closed to others.
    around: PathBuf,
    root: PathBuf,
    _guard: Child,
}

impl Clone {
    /// With this mode of the directory around it: in a closed one root's servers keep their state
    /// elsewhere.
    fn make(mode: u32) -> Result<Self> {
        let around = std::env::temp_dir().join(format!("devart-clones-{}", Uuid::now_v7()));
        let root = around.join("a clone");
        std::fs::create_dir_all(root.join("tools"))?;
        std::fs::set_permissions(&around, Permissions::from_mode(mode))?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        for name in ["pg_devart", "Cargo.toml", "Cargo.lock"] {
            symlink(repository.join(name), root.join(name))?;
        }
        // Closed to others, as cargo leaves them under a narrow umask.
        let programs = root.join("programs");
        std::fs::create_dir(&programs)?;
        for name in devart_cli::setup::programs::names() {
            let copy = programs.join(&name);
            std::fs::copy(program::path(&name)?, &copy)?;
            std::fs::set_permissions(&copy, Permissions::from_mode(0o700))?;
        }
        let wrapper = root.join("tools/devart");
        std::fs::write(&wrapper, WRAPPER)?;
        std::fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
        const END: &str = r#"
            DEVART_ROOT="$0" "$0/programs/devart" down
            rm -rf "$(readlink "$0/.devart/state")" "$1""#;
        Ok(Self {
            _guard: guard::afterwards(END, [&root, &around])?,
            around,
            root,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Runs a script of the shell in which `devart` is that of this clone.
    fn shell(&self, script: &str) -> Result<Output> {
        self.shell_in(&self.root, script)
    }

    /// As [`Self::shell`], for a copy of this clone.
    fn shell_in(&self, clone: &Path, script: &str) -> Result<Output> {
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .current_dir(clone)
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("tools").display()),
            )
            .env("DEVART_ROOT", clone)
            .env("PROGRAMS", self.path("programs"))
            .stdin(Stdio::null());
        for name in [
            "HOME",
            "XDG_CACHE_HOME",
            "CARGO_TARGET_DIR",
            "DEVART_PG",
            "TMPDIR",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.output().context("starting bash")
    }

    /// What a script says; it must succeed.
    fn must(&self, script: &str) -> Result<String> {
        let output = self.shell(script)?;
        ensure!(output.status.success(), "{script}: {}", text(&output));
        Ok(text(&output))
    }

    /// Sets everything up and starts it, on ports of its own.
    fn up(&self, before: &str) -> Result<String> {
        self.must(&format!("{before}\n{} devart up", free_ports()?))
    }

    /// A line of the record.
    fn recorded(&self, name: &str) -> Result<String> {
        let script = format!(". .devart/env && printf %s \"${name}\"");
        self.must(&script)
    }

    /// Puts a value into the record, by hand.
    fn record(&self, name: &str, value: &str) -> Result<()> {
        let file = self.path(".devart/env");
        let text = std::fs::read_to_string(&file)?;
        let kept = text
            .lines()
            .filter(|line| !line.starts_with(&format!("export {name}=")));
        let mut lines: Vec<String> = kept.map(str::to_owned).collect();
        lines.push(format!("export {name}='{value}'"));
        Ok(std::fs::write(file, lines.join("\n") + "\n")?)
    }

    /// The running process of a part, by the supervisor's record.
    fn process(&self, part: &str) -> Result<i64> {
        let process = self.part(part)?["process"]["pid"].as_i64();
        process.with_context(|| format!("{part} does not run"))
    }

    fn part(&self, name: &str) -> Result<Value> {
        let text = std::fs::read_to_string(self.path(".devart/run/parts.json"))?;
        Ok(serde_json::from_str::<Value>(&text)?["parts"][name].take())
    }
}

/// `devart`, which takes the programs that are built, and shows no demo.
const WRAPPER: &str = r#"#!/bin/sh
case "$1" in up) set -- "$@" --no-setup --no-demo ;; esac
exec "$PROGRAMS/devart" "$@"
"#;

/// All that it printed.
fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Settings of ports that were free a moment ago, all bound at once, so that they differ.
fn free_ports() -> Result<String> {
    const NAMES: [&str; 8] = [
        "PG",
        "API",
        "RABBITMQ",
        "RABBITMQ_DIST",
        "EPMD",
        "RABBITMQ_BRIDGE",
        "TELEGRAM_BRIDGE",
        "TELEGRAM_STAND_IN",
    ];
    let mut listeners = Vec::new();
    let mut settings = Vec::new();
    for name in NAMES {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        settings.push(format!(
            "DEVART_{name}_PORT={}",
            listener.local_addr()?.port()
        ));
        listeners.push(listener);
    }
    Ok(settings.join(" "))
}
