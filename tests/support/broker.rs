//! Private RabbitMQ nodes, on free ports and with their own directories.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devart_cli::ports;
use devart_cli::rabbitmq::{self, NodePorts, RabbitMq};
use lapin::options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use uuid::Uuid;

use super::wait::{eventually, within};

const USER: &str = "devart";
const PASSWORD: &str = "a-password-of-the-tests";
const START_PATIENCE: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Each test that shares the node has a virtual host of its own.
const VIRTUAL_HOSTS: u32 = 40;

/// A node. It ends with this value, and with this process however that ends.
pub struct Broker {
    dir: PathBuf,
    ports: NodePorts,
    node: RabbitMq,
    process: Option<Child>,
    _guard: Child,
}

impl Broker {
    /// A node of its own, for a test that stops it.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| Ok(String::new())).await
    }

    /// A node of its own, with further lines of configuration that may speak of files in its directory.
    pub async fn start_with(configuration: impl Fn(&Path) -> Result<String>) -> Result<Self> {
        let mut broker = Self::prepare(configuration)?;
        broker.resume().await?;
        Ok(broker)
    }

    /// The address of a virtual host that no other test uses, on the node of this test process.
    pub async fn shared() -> Result<String> {
        static SHARED: OnceCell<Broker> = OnceCell::const_new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let broker = SHARED.get_or_try_init(Self::start).await?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(
            number < VIRTUAL_HOSTS,
            "more tests share the broker than it has virtual hosts"
        );
        Ok(broker.address(&format!("test{number}")))
    }

    fn prepare(configuration: impl Fn(&Path) -> Result<String>) -> Result<Self> {
        let id = Uuid::now_v7().simple().to_string();
        let dir = std::env::temp_dir().join(format!("devart-rabbitmq-{id}"));
        let ports = free_ports()?;
        let node = init(&dir, &id, ports, configuration)?;
        Ok(Self {
            _guard: guard(&dir, ports.epmd)?,
            dir,
            ports,
            node,
            process: None,
        })
    }

    /// The address of the node's usual virtual host.
    pub fn url(&self) -> String {
        self.address("%2f")
    }

    fn address(&self, virtual_host: &str) -> String {
        format!(
            "amqp://{USER}:{PASSWORD}@127.0.0.1:{}/{virtual_host}",
            self.port()
        )
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
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

fn init(
    dir: &Path,
    id: &str,
    ports: NodePorts,
    configuration: impl Fn(&Path) -> Result<String>,
) -> Result<RabbitMq> {
    let node = RabbitMq::init(dir, id, ports, PASSWORD)?;
    let definitions = dir.join("definitions.json");
    std::fs::write(&definitions, definitions_of_tests().to_string())?;
    let file = dir.join("rabbitmq.conf");
    let text = std::fs::read_to_string(&file)?;
    let further = configuration(dir)?;
    // Rewritten in place, so that it still belongs to the node's user.
    std::fs::write(
        file,
        format!(
            "{text}load_definitions = {}\n{further}",
            definitions.display()
        ),
    )?;
    Ok(node)
}

/// The user and the virtual hosts; made when the node starts, since rabbitmqctl takes seconds for each.
fn definitions_of_tests() -> Value {
    let hosts: Vec<String> = std::iter::once("/".to_owned())
        .chain((0..VIRTUAL_HOSTS).map(|number| format!("test{number}")))
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

fn free_ports() -> Result<NodePorts> {
    // All bound at once, so that they differ.
    let listeners: Vec<_> = (0..3)
        .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    let port = |index: usize| listeners[index].local_addr().map(|it| it.port());
    Ok(NodePorts {
        clients: port(0)?,
        dist: port(1)?,
        epmd: port(2)?,
    })
}

/// As for the cluster: a shell that outlives this process, but only just.
fn guard(dir: &Path, epmd: u16) -> Result<Child> {
    const SCRIPT: &str = r#"
        cat
        pid=$(cat "$0/pid") && kill -KILL "$pid"
        while kill -0 "$pid"; do sleep 0.1; done
        /usr/bin/epmd -port "$1" -kill
        rm -rf "$0""#;
    Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(dir)
        .arg(epmd.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the broker's guard")
}

/// A connection as an agent has one. A node that starts or dies may take connections and never answer.
pub async fn connect(url: &str) -> lapin::Result<Connection> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

/// A message as an agent gets it.
#[derive(Debug)]
pub struct Message {
    pub properties: BasicProperties,
    pub body: Value,
    acker: lapin::Acker,
}

impl Message {
    /// The task that it is about.
    pub fn task_id(&self) -> Uuid {
        let id = self.body["task_id"].as_str().expect("a string");
        id.parse().expect("a UUID")
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let headers = self.properties.headers().as_ref()?;
        let value = headers.inner().get(name)?.as_long_string()?;
        Some(value.to_string())
    }

    /// Tells the broker that it was handled.
    pub async fn acknowledge(self) -> lapin::Result<()> {
        self.acker.ack(Default::default()).await.map(drop)
    }
}

/// Whether a queue of this broker gives what is most urgent first, and not only what is critical.
pub fn tells_all_priorities() -> Result<bool> {
    let mut versions = std::fs::read_dir("/usr/lib/rabbitmq/lib")?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let mut numbers = name.strip_prefix("rabbitmq_server-")?.split('.');
        let mut number = || numbers.next()?.parse::<u32>().ok();
        Some((number()?, number()?))
    });
    let version = versions.next().context("RabbitMQ is not installed")?;
    Ok(!((4, 0)..(4, 3)).contains(&version))
}

/// An agent's look at the queues of one virtual host.
pub struct Queues {
    connection: Connection,
    channel: Channel,
}

impl Queues {
    pub async fn open(url: &str) -> lapin::Result<Self> {
        let connection = connect(url).await?;
        let channel = connection.create_channel().await?;
        Ok(Self {
            connection,
            channel,
        })
    }

    /// The next message of a queue, unacknowledged; none when it is empty.
    pub async fn get(&self, queue: &str) -> lapin::Result<Option<Message>> {
        let options = BasicGetOptions { no_ack: false };
        let message = self.channel.basic_get(queue.into(), options).await?;
        Ok(message.map(|message| Message {
            properties: message.properties.clone(),
            body: serde_json::from_slice(&message.data).expect("bodies are JSON"),
            acker: message.delivery.acker,
        }))
    }

    /// Waits for the next message of a queue.
    pub async fn next(&self, queue: &str) -> Message {
        eventually(&format!("a message comes into {queue}"), async || {
            // The queue may be made with its first message, and asking a missing one closes the channel.
            self.count(queue).await.filter(|count| *count > 0)?;
            self.get(queue).await.expect("the queue is there")
        })
        .await
    }

    /// How many messages wait in a queue; none when there is no such queue.
    pub async fn count(&self, queue: &str) -> Option<u32> {
        // The answer "no" closes the channel.
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await;
        found.ok().map(|queue| queue.message_count())
    }

    /// Waits until so many messages wait in a queue.
    pub async fn wait_for_count(&self, queue: &str, count: u32) {
        let mut last = None;
        eventually(&format!("{count} messages wait in {queue}"), async || {
            let now = self.count(queue).await;
            if now != last {
                eprintln!("{queue}: {now:?}");
                last = now;
            }
            (now == Some(count)).then_some(())
        })
        .await;
    }

    /// Puts a message of one's own into a queue.
    pub async fn put(&self, queue: &str, body: &Value) -> lapin::Result<()> {
        let body = body.to_string();
        self.channel
            .basic_publish(
                "".into(),
                queue.into(),
                Default::default(),
                body.as_bytes(),
                BasicProperties::default(),
            )
            .await
            .map(drop)
    }

    /// Makes a quorum queue.
    pub async fn make_quorum_queue(&self, queue: &str) -> lapin::Result<()> {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        let made = self.channel.queue_declare(queue.into(), options, arguments);
        made.await.map(drop)
    }

    /// Deletes a queue with all that is in it.
    pub async fn delete(&self, queue: &str) -> lapin::Result<()> {
        let options = QueueDeleteOptions::default();
        self.channel
            .queue_delete(queue.into(), options)
            .await
            .map(drop)
    }
}

/// A port of 127.0.0.1 where nobody listens.
pub fn nobodys_url() -> Result<String> {
    Ok(format!(
        "amqp://{USER}:{PASSWORD}@127.0.0.1:{}/%2f",
        ports::any_free()?
    ))
}
