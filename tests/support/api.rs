//! The real API as a process of its own.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::ports;

use super::caller::{Caller, JWT_SECRET};
use super::database::{Agent, Database};
use super::http::Http;
use super::wait::{eventually, within};
use super::{process_log, program};

/// The secret that the tests' webhooks are signed with.
pub const WEBHOOK_SECRET: &str = "a webhook secret of the tests";

/// A running API; dropping it kills it.
pub struct Api {
    child: Child,
    port: u16,
    pub url: String,
    /// A client without a token.
    pub anonymous: Http,
}

impl Api {
    /// An API on the test's database.
    pub async fn start(database: &Database) -> Result<Self> {
        Self::start_with(&database.authenticator_url(), &[]).await
    }

    /// An API on any database, with further environment variables.
    pub async fn start_with(database_url: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let port = ports::any_free()?;
        let bind = format!("127.0.0.1:{port}");
        let mut command = Command::new(program::path("devart-api")?);
        command
            .env_remove("SUPABASE_URL")
            .env("API_BIND", &bind)
            .env("API_DATABASE_URL", database_url)
            .env("SUPABASE_JWT_SECRET", JWT_SECRET)
            .env("GITHUB_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .env("RUST_LOG", "warn")
            .envs(variables.iter().copied())
            .stdout(process_log::keep(port)?);
        let child = command.spawn().context("starting devart-api")?;
        let url = format!("http://{bind}");
        let anonymous = Http::new(url.clone());
        let mut api = Self {
            child,
            port,
            url,
            anonymous,
        };
        api.wait_until_ready().await?;
        Ok(api)
    }

    /// Waits until the API says that it can do its work.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let (client, child) = (&self.anonymous, &mut self.child);
        eventually("the API is ready", async || {
            if let Some(status) = child.try_wait().expect("the API is our child") {
                return Some(Err(anyhow::anyhow!("devart-api ended with {status}")));
            }
            let answer = client.get("/readyz").await.ok()?;
            (answer.status == 200).then_some(Ok(()))
        })
        .await
    }

    /// A client for a person, or for an agent by its token.
    pub fn client(&self, caller: Caller) -> Http {
        match caller.token() {
            Some(token) => self.anonymous.with_token(&token),
            None => self.anonymous.clone(),
        }
    }

    /// A client for an agent with its key.
    pub fn agent(&self, agent: &Agent) -> Http {
        self.anonymous.with_key(&agent.key)
    }

    /// The value of a metric without labels; zero before its first value.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.anonymous.get("/metrics").await?.text;
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        Ok(text.lines().find_map(value).unwrap_or(0.0))
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the API to stop, as a supervisor does.
    pub fn ask_to_stop(&self) {
        program::ask_to_stop(&self.child);
    }

    /// Waits for the end of an API that was asked to stop.
    pub async fn wait_for_end(&mut self) -> ExitStatus {
        let child = &mut self.child;
        within(Duration::from_secs(20), "the API ends", async || {
            child.try_wait().expect("the API is our child")
        })
        .await
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        process_log::forget(self.port);
    }
}
