//! What all suites share: one API on one database, for as long as this test process lives.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::database::Agent;

/// What the Python tests are given, so that none has a reason to be skipped.
pub struct Surroundings {
    db: Database,
    api: Api,
    admin: String,
    supervisor: String,
    /// For the template's own test, an agent that can do what its task requires.
    word_counter: Agent,
    _guard: Child,
}

impl Surroundings {
    /// Those of this test process.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Surroundings> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::make).await
    }

    async fn make() -> Result<Self> {
        let db = Database::create().await?;
        let token = async |role| {
            let person = db.person(role).await?;
            person.token().context("a person has a token")
        };
        let api = Api::start(&db).await?;
        Ok(Self {
            admin: token("admin").await?,
            supervisor: token("supervisor").await?,
            word_counter: db.agent(&["word-count"]).await?,
            _guard: guard(&api)?,
            api,
            db,
        })
    }

    /// The variables that the Python tests read; `broker` is the address of a virtual host without
    /// a bridge, whose queues are the tests' own.
    pub fn variables<'a>(&'a self, broker: &'a str) -> [(&'static str, &'a str); 6] {
        [
            ("DEVART_API_URL", &self.api.url),
            ("DEVART_ADMIN_TOKEN", &self.admin),
            ("DEVART_TOKEN", &self.supervisor),
            ("DEVART_API_KEY", &self.word_counter.key),
            ("DEVART_TEST_RABBITMQ_URL", broker),
            ("NO_PROXY", "127.0.0.1"),
        ]
    }

    /// Connections of a suite's own: a pool works in the runtime that made it, and each test has its own.
    pub async fn connections(&self) -> sqlx::Result<PgPool> {
        PgPool::connect(&self.db.url()).await
    }
}

/// What is shared is never dropped: a shell that outlives this process, but only just, ends the API.
fn guard(api: &Api) -> Result<Child> {
    Command::new("sh")
        .args(["-c", r#"cat; kill -KILL "$0""#])
        .arg(api.process_id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the API's guard")
}
