//! The real bridge to Telegram as a process of its own, whose log is kept.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::ports;

use super::http::Http;
use super::program::{self, ask_to_stop};
use super::wait::{eventually, within};

/// The bot's token in the tests. Nothing that we write may contain it.
pub const TOKEN: &str = "123456:token-of-the-tests";

/// A running bridge; dropping it kills it.
pub struct Bridge {
    child: Child,
    log: Vec<JoinHandle<String>>,
    health: Http,
}

impl Bridge {
    /// A bridge from the database to a Bot API that serves everybody who has the token. Short waits, all logs, leases of the usual length.
    pub async fn start(database: &str, api: &str) -> Result<Self> {
        Self::start_with(database, &[("TELEGRAM_API_URL", api)]).await
    }

    /// A bridge with further environment variables.
    pub async fn start_with(database: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let bind = format!("127.0.0.1:{}", ports::any_free()?);
        let mut child = Command::new(program::path("devart-telegram")?)
            .env("BRIDGE_DATABASE_URL", database)
            .env("BRIDGE_BIND", &bind)
            .env("TELEGRAM_BOT_TOKEN", TOKEN)
            .env("TELEGRAM_CHAT_ID", "-100")
            .env("OUTBOX_RETRY_BASE_MS", "1")
            .env("OUTBOX_POLL_MS", "50")
            .env("RUST_LOG", "trace")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting devart-telegram")?;
        let log = vec![
            collect(child.stdout.take().context("its output")?),
            collect(child.stderr.take().context("its errors")?),
        ];
        let health = Http::new(format!("http://{bind}"));
        let mut bridge = Self { child, log, health };
        bridge.wait_until_it_answers().await;
        Ok(bridge)
    }

    /// Ready or not: with an alert that waits it may have found out already that it is not.
    async fn wait_until_it_answers(&mut self) {
        let (health, child) = (&self.health, &mut self.child);
        eventually("the bridge answers", async || {
            let ended = child.try_wait().expect("the bridge is our child");
            assert!(ended.is_none(), "devart-telegram ended: {ended:?}");
            health.get("/readyz").await.ok().map(drop)
        })
        .await;
    }

    /// Whether it says that Telegram can be reached.
    pub async fn is_ready(&self) -> bool {
        let answer = self.health.get("/readyz").await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// What monitors see.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.health.get("/metrics").await?.text)
    }

    /// Ends it as a crash does; gives what it logged.
    pub fn kill(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log()
    }

    /// Ends it as a supervisor does; gives how it ended and what it logged.
    pub async fn stop(mut self) -> (ExitStatus, String) {
        ask_to_stop(&self.child);
        let child = &mut self.child;
        let status = within(Duration::from_secs(20), "the bridge ends", async || {
            child.try_wait().expect("the bridge is our child")
        })
        .await;
        (status, self.log())
    }

    fn log(&mut self) -> String {
        let parts = self.log.drain(..);
        parts.map(|it| it.join().expect("no panic")).collect()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the bridge never waits for us.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
