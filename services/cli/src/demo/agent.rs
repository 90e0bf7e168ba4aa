//! The example agent as a process.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::api::Api;
use super::registered::Registered;
use crate::installation::Installation;
use crate::layout::Layout;
use crate::logs;

/// How many tasks it may take before ours comes: older reviews have precedence.
const MOST_RUNS: u32 = 20;

/// The running example agent.
pub struct ExampleAgent {
    layout: Layout,
    api_url: String,
    api_key: String,
    service: String,
    child: Child,
    runs: u32,
}

impl ExampleAgent {
    /// Starts it for one task.
    pub fn start(layout: &Layout, api: &Api, agent: &Registered, service: &str) -> Result<Self> {
        // A log of this run alone.
        File::create(layout.log_file("demo-agent")).context("making the agent's log")?;
        let child = spawn(layout, &api.url, &agent.api_key, service)?;
        Ok(Self {
            layout: layout.clone(),
            api_url: api.url.clone(),
            api_key: agent.api_key.clone(),
            service: service.to_owned(),
            child,
            runs: 1,
        })
    }

    /// Starts it again when it ended well without our task being finished: it took an older one.
    /// Fails when it failed.
    pub fn keep_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("looking after the agent")? else {
            return Ok(());
        };
        if !status.success() || self.runs == MOST_RUNS {
            bail!(
                "the example agent ended with {status} before the task was done\n{}",
                self.said()
            );
        }
        self.runs += 1;
        self.child = spawn(&self.layout, &self.api_url, &self.api_key, &self.service)?;
        Ok(())
    }

    /// The end of what it wrote.
    pub fn said(&self) -> String {
        format!(
            "the agent's log ends:\n{}",
            logs::tail(&self.layout, "demo-agent", 15)
        )
    }

    /// Lets it end by itself, or ends it.
    pub async fn stop(mut self) {
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait())
            .await
            .is_ok()
        {
            return;
        }
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}

fn spawn(layout: &Layout, api_url: &str, api_key: &str, service: &str) -> Result<Child> {
    let directory = layout.repo.join("agents/examples/code_review");
    let log = File::options()
        .append(true)
        .open(layout.log_file("demo-agent"))
        .context("opening the agent's log")?;
    let errors = log.try_clone().context("sharing the agent's log")?;
    let installation = Installation::open(layout)?;
    Command::new(layout.venv().join("bin/python"))
        .arg("agent.py")
        .args(["--max-tasks", "1"])
        .current_dir(directory)
        .env("DEVART_API_URL", api_url)
        .env("DEVART_API_KEY", api_key)
        .env("DEVART_SERVICE_ID", service)
        .env("RABBITMQ_URL", installation.get("RABBITMQ_URL")?)
        // The API is on this machine: no proxy of the environment is to be asked.
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .context("could not start the example agent; is the Python environment there? `devart setup` makes it")
}
