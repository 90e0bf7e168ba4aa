//! Private RabbitMQ nodes, on free ports and with their own directories.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devart_cli::rabbitmq::{self, AgentLogins, NodePorts, RabbitMq};
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use uuid::Uuid;

use crate::certificate::Certificate;
use crate::guard;
use crate::wait::{eventually, within};

const USER: &str = "devart";
const PASSWORD: &str = "a-password-of-the-tests";
const START_PATIENCE: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Each test that shares the node has a virtual host of its own.
const VIRTUAL_HOSTS: u32 = 60;

/// A node. It ends with this value, and with this process however that ends.
pub struct Broker {
    dir: PathBuf,
    ports: NodePorts,
    node: RabbitMq,
    process: Option<Child>,
    /// Where it listens with TLS, and the file with the authority of its certificate.
    tls: Option<(u16, PathBuf)>,
    _guard: Child,
}

/// The node that the tests of this process share, by the addresses of one virtual host.
pub struct Shared {
    /// Without TLS.
    pub url: String,
    /// With TLS.
    pub tls_url: String,
    /// The file with the authority that vouches for the node's certificate.
    pub authority: PathBuf,
}

impl Broker {
    /// A node of its own, with RabbitMQ's defaults: for a test that stops it, and for the bench.
    pub async fn start() -> Result<Self> {
        let (dir, id) = make_dir()?;
        Self::launch(dir, &id, "", None).await
    }

    /// A node of its own that asks an API which agents to let in.
    pub async fn start_asking(agents: &AgentLogins) -> Result<Self> {
        let (dir, id) = make_dir()?;
        Self::launch(dir, &id, &agents.configuration(), None).await
    }

    /// The address of a virtual host that no other test uses, on the node of this test process.
    pub async fn shared() -> Result<String> {
        Self::shared_with_tls().await.map(|shared| shared.url)
    }

    /// As [`Self::shared`], with TLS, too.
    pub async fn shared_with_tls() -> Result<Shared> {
        static SHARED: OnceCell<Broker> = OnceCell::const_new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let broker = SHARED.get_or_try_init(Self::start_for_all).await?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(
            number < VIRTUAL_HOSTS,
            "more tests share the broker than it has virtual hosts"
        );
        let (port, authority) = broker.tls.clone().context("the shared node has TLS")?;
        let host = virtual_host(number);
        Ok(Shared {
            url: address("amqp", broker.port(), &host),
            tls_url: address("amqps", port, &host),
            authority,
        })
    }

    async fn start_for_all() -> Result<Self> {
        let (dir, id) = make_dir()?;
        let definitions = dir.join("definitions.json");
        std::fs::write(&definitions, definitions_of_tests().to_string())?;
        let made = Certificate::make(&dir)?;
        let [port] = free_ports()?;
        let configuration = format!(
            "load_definitions = {}\n\
             listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {}\n\
             ssl_options.certfile = {}\n\
             ssl_options.keyfile = {}\n",
            definitions.display(),
            made.authority.display(),
            made.certificate.display(),
            made.key.display(),
        );
        Self::launch(dir, &id, &configuration, Some((port, made.authority))).await
    }

    async fn launch(
        dir: PathBuf,
        id: &str,
        configuration: &str,
        tls: Option<(u16, PathBuf)>,
    ) -> Result<Self> {
        let ports = ports()?;
        let node = RabbitMq::init(&dir, id, ports, PASSWORD)?;
        let file = dir.join("rabbitmq.conf");
        let text = std::fs::read_to_string(&file)?;
        // Rewritten in place, so that it still belongs to the node's user.
        std::fs::write(file, format!("{text}{configuration}"))?;
        let mut broker = Self {
            _guard: guard_of(&dir, ports.epmd)?,
            dir,
            ports,
            node,
            process: None,
            tls,
        };
        broker.resume().await?;
        Ok(broker)
    }

    /// The address of the node's usual virtual host.
    pub fn url(&self) -> String {
        address("amqp", self.port(), "%2f")
    }

    /// The address of the node's usual virtual host, for a user of this name and password.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/%2f", self.port())
    }

    /// The same for whoever knows its own name and password.
    pub fn url_without_user(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port())
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.clients
    }

    /// Starts the node and waits until it answers.
    pub async fn resume(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.dir.join("console.log"))?;
        let process = self
            .node
            .server_command()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("starting RabbitMQ")?;
        std::fs::write(self.dir.join("pid"), process.id().to_string())?;
        self.process = Some(process);
        let (url, process) = (self.url(), &mut self.process);
        within(START_PATIENCE, "RabbitMQ answers", async || {
            let ended = process.as_mut().and_then(|it| it.try_wait().transpose());
            assert!(ended.is_none(), "RabbitMQ ended: {ended:?}");
            connect(&url).await.ok()
        })
        .await;
        Ok(())
    }

    /// Asks something of the node with rabbitmqctl.
    pub fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut command = std::process::Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
        for (name, value) in self.node.server_command().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.args(arguments).output().context("rabbitmqctl")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "rabbitmqctl {arguments:?}: {said}");
        Ok(())
    }

    /// Stops the node in order.
    pub async fn stop(&mut self) {
        self.end(libc::SIGTERM).await;
    }

    /// Ends the node at once, but not while it would forget quorum queues that it has just made.
    pub async fn kill(&mut self) {
        eventually("the node remembers its queues", async || {
            self.remembers_its_queues().ok()?.then_some(())
        })
        .await;
        self.kill_at_once().await;
    }

    /// Ends the node at once. A quorum queue that was made in the second before does not survive it
    /// (github.com/rabbitmq/rabbitmq-server/issues/15725).
    pub async fn kill_at_once(&mut self) {
        self.end(libc::SIGKILL).await;
    }

    /// Whether every quorum queue that has files is in the register of them, which is written a little later.
    fn remembers_its_queues(&self) -> Result<bool> {
        let node = self.node.name();
        let dir = self
            .dir
            .join("mnesia")
            .join(&node)
            .join("quorum")
            .join(node);
        let register = std::fs::read(dir.join("names.dets"))?;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let id = entry.file_name();
            let is_known = |id: &[u8]| register.windows(id.len()).any(|part| part == id);
            if entry.file_type()?.is_dir() && !is_known(id.as_encoded_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn end(&mut self, signal: libc::c_int) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // SAFETY: the child is ours and was not waited for.
        unsafe { libc::kill(process.id() as i32, signal) };
        within(START_PATIENCE, "RabbitMQ ends", async || {
            process.try_wait().expect("the node is our child")
        })
        .await;
    }

    /// Removes everything that the stopped node has stored.
    pub fn lose_everything(&self) -> Result<()> {
        assert!(self.process.is_none(), "the node still runs");
        let stored = self.dir.join("mnesia");
        for entry in std::fs::read_dir(&stored)? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        rabbitmq::stop_port_mapper(self.ports.epmd);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A connection as an agent has one. A node that starts or dies may take connections and never answer.
pub async fn connect(url: &str) -> lapin::Result<Connection> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// The directory of a new node, and what tells it apart from others.
fn make_dir() -> Result<(PathBuf, String)> {
    let id = Uuid::now_v7().simple().to_string();
    let dir = std::env::temp_dir().join(format!("devart-rabbitmq-{id}"));
    std::fs::create_dir(&dir)?;
    Ok((dir, id))
}

fn virtual_host(number: u32) -> String {
    format!("test{number}")
}

fn address(scheme: &str, port: u16, virtual_host: &str) -> String {
    format!("{scheme}://{USER}:{PASSWORD}@127.0.0.1:{port}/{virtual_host}")
}

/// An address of 127.0.0.1 where nobody listens.
pub fn nobodys_url() -> Result<String> {
    let [port] = free_ports()?;
    Ok(address("amqp", port, "%2f"))
}

/// The user and the virtual hosts; made when the node starts, since rabbitmqctl takes seconds for each.
fn definitions_of_tests() -> Value {
    let hosts: Vec<String> = std::iter::once("/".to_owned())
        .chain((0..VIRTUAL_HOSTS).map(virtual_host))
        .collect();
    let permissions = hosts.iter().map(
        |host| json!({"user": USER, "vhost": host, "configure": ".*", "write": ".*", "read": ".*"}),
    );
    json!({
        "users": [{"name": USER, "password": PASSWORD, "tags": "administrator"}],
        "vhosts": hosts.iter().map(|host| json!({"name": host})).collect::<Vec<_>>(),
        "permissions": permissions.collect::<Vec<_>>(),
    })
}

fn ports() -> Result<NodePorts> {
    let [clients, dist, epmd] = free_ports()?;
    Ok(NodePorts {
        clients,
        dist,
        epmd,
    })
}

/// Ports that were free a moment ago, all bound at once, so that they differ.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut listeners = Vec::new();
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn guard_of(dir: &Path, epmd: u16) -> Result<Child> {
    const SCRIPT: &str = r#"
        pid=$(cat "$0/pid") && end KILL
        /usr/bin/epmd -port "$1" -kill
        rm -rf "$0""#;
    guard::afterwards(SCRIPT, [dir.as_os_str(), epmd.to_string().as_ref()])
}
