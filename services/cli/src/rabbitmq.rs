//! A private RabbitMQ node from Debian's package: own node name, cookie, port mapper, ports and
//! directories, so that it never meets a broker that already runs on the machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::run_as::ServerUser;

/// The script of the package; not the wrapper in /usr/sbin, which insists on the system's own user
/// and directories.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The user our node has; RabbitMQ's usual `guest` does not exist on it.
const USER: &str = "devart";

/// Where a node listens on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    /// For clients (AMQP).
    pub clients: u16,
    /// Between nodes and for its tools; nobody else uses it.
    pub dist: u16,
    /// Erlang's port mapper, private to the node.
    pub epmd: u16,
}

/// Where a node asks which agents to let in: the API (docs/decisions/broker-logins.md).
#[derive(Debug, Clone)]
pub struct AgentLogins {
    /// The API's address, such as `http://127.0.0.1:8080`.
    pub api_url: String,
    /// What the API knows the broker by: its `API_BROKER_SECRET`.
    pub secret: String,
}

impl AgentLogins {
    /// The lines of a node's configuration that make it ask. Its own users come first.
    pub fn configuration(&self) -> String {
        let door = format!("{}/rabbitmq/{}", self.api_url, self.secret);
        format!(
            "auth_backends.1 = internal\n\
             auth_backends.2 = http\n\
             auth_http.http_method = post\n\
             auth_http.user_path = {door}/user\n\
             auth_http.vhost_path = {door}/vhost\n\
             auth_http.resource_path = {door}/resource\n\
             auth_http.topic_path = {door}/topic\n"
        )
    }
}

/// So that agents have logins of their own, and the bridge is notified of deleted queues.
const PLUGINS: &str = "[rabbitmq_auth_backend_http,rabbitmq_event_exchange].\n";

/// One node.
#[derive(Debug)]
pub struct RabbitMq {
    user: ServerUser,
    dir: PathBuf,
    id: String,
    ports: NodePorts,
}

impl RabbitMq {
    /// Prepares the node's directories and configuration in `dir`. `id` tells nodes on one machine
    /// apart.
    pub fn init(dir: &Path, id: &str, ports: NodePorts, password: &str) -> Result<Self> {
        let node = Self {
            user: ServerUser::for_server("rabbitmq")?,
            dir: dir.to_owned(),
            id: id.to_owned(),
            ports,
        };
        node.user.make_dir(dir, 0o700)?;
        node.user
            .make_dirs_inside(dir, &["home", "mnesia", "plugins", "log"])?;
        node.write("rabbitmq.conf", &configuration(ports.clients, password))?;
        node.write("env.conf", "")?;
        node.write("enabled_plugins", PLUGINS)?;
        Ok(node)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        self.user.write(&self.dir.join(name), text)
    }

    /// From its next start on the node lets agents in as the API says, and gives its user this
    /// password, whatever it has stored: its `default_pass` counts at the very first start only.
    pub fn keep_logins(&self, password: &str, agents: &AgentLogins) -> Result<()> {
        self.write("definitions.json", &definitions(password))?;
        let path = self.dir.join("definitions.json");
        let text = format!(
            "{}load_definitions = {}\n{}",
            configuration(self.ports.clients, password),
            path.display(),
            agents.configuration(),
        );
        self.write("rabbitmq.conf", &text)
    }

    /// The command that runs the node in the foreground.
    pub fn server_command(&self) -> Command {
        let mut command = self.program(SERVER);
        // With input allowed the script becomes the Erlang machine instead of staying above it as a
        // shell that would have to pass signals on; -noinput then takes the input away again.
        command.env("RABBITMQ_ALLOW_INPUT", "1").arg("-noinput");
        command
    }

    /// The node's name.
    pub fn name(&self) -> String {
        format!("devart_{}@localhost", self.id)
    }

    fn program(&self, program: &str) -> Command {
        let mut command = self.user.command(program);
        command
            .env("LANG", "C.UTF-8")
            .env("HOME", self.dir.join("home"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.ports.epmd.to_string())
            .env("RABBITMQ_NODENAME", self.name())
            .env("RABBITMQ_DIST_PORT", self.ports.dist.to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("RABBITMQ_CONF_ENV_FILE", self.dir.join("env.conf"))
            .env("RABBITMQ_CONFIG_FILE", self.dir.join("rabbitmq.conf"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                self.dir.join("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", self.dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.dir.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PLUGINS_EXPAND_DIR", self.dir.join("plugins"));
        command
    }
}

/// Ends the port mapper on our private port, which the node started and which would outlive it. It
/// refuses while a node is registered, and notices some time later that one was ended by force.
pub fn stop_port_mapper(port: u16) {
    let deadline = Instant::now() + PORT_MAPPER_PATIENCE;
    while is_open(port) && Instant::now() < deadline {
        let _ = Command::new("/usr/bin/epmd")
            .args(["-port", &port.to_string(), "-kill"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}

const PORT_MAPPER_PATIENCE: Duration = Duration::from_secs(10);

/// An agent has a channel or two; each costs the broker some 20 KB, and whoever has a login could
/// open 2,047 to a connection.
const MOST_CHANNELS: u32 = 64;
/// Of all agents and services together: what so many cost fits into the broker's memory.
const MOST_CONNECTIONS: u32 = 2_000;

fn configuration(port: u16, password: &str) -> String {
    format!(
        "# Written by `devart up` at each start.\n\
         listeners.tcp.local = 127.0.0.1:{port}\n\
         channel_max = {MOST_CHANNELS}\n\
         default_user = {USER}\n\
         default_pass = {password}\n\
         default_user_tags.administrator = true\n\
         log.console = true\n\
         log.console.level = info\n\
         log.file = false\n"
    )
}

/// What a node is to have, whatever it has stored. Read at each start.
fn definitions(password: &str) -> String {
    json!({
        "users": [{"name": USER, "password": password, "tags": "administrator"}],
        "vhosts": [{"name": "/"}],
        "parameters": [{
            "vhost": "/", "component": "vhost-limits", "name": "limits",
            "value": {"max-connections": MOST_CONNECTIONS},
        }],
        "permissions": [
            {"user": USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        ],
    })
    .to_string()
}

/// How a broker took our login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// It let us in.
    Accepted,
    /// It has another password.
    Refused,
    /// It is not there, or not ready.
    NoAnswer,
}

/// Logs in as our user, and leaves.
pub fn login(port: u16, password: &str) -> Login {
    try_login(port, password).unwrap_or(Login::NoAnswer)
}

/// Class and method of the frames of a login.
const START: [u8; 4] = [0, 10, 0, 10];
const START_OK: [u8; 4] = [0, 10, 0, 11];
const TUNE: [u8; 4] = [0, 10, 0, 30];
const CLOSE: [u8; 4] = [0, 10, 0, 50];

fn try_login(port: u16, password: &str) -> std::io::Result<Login> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    if read_frame(&mut stream)?.get(..4) != Some(&START) {
        return Ok(Login::NoAnswer);
    }
    stream.write_all(&frame(&start_ok(password)))?;
    Ok(match read_frame(&mut stream)?.get(..4) {
        Some(method) if method == TUNE => Login::Accepted,
        Some(method) if method == CLOSE => Login::Refused,
        _ => Login::NoAnswer,
    })
}

fn read_frame(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    const LARGEST: u32 = 64 * 1024;
    // Type and channel, then how long it is.
    let mut head = [0_u8; 7];
    stream.read_exact(&mut head)?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if size > LARGEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0_u8; size as usize];
    stream.read_exact(&mut payload)?;
    stream.read_exact(&mut [0_u8])?;
    Ok(payload)
}

/// A method on channel 0.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0];
    frame.extend(long(payload));
    frame.push(0xCE);
    frame
}

fn start_ok(password: &str) -> Vec<u8> {
    // With this capability a broker says that it refuses; else it only hangs up.
    let capability = [&short("authentication_failure_close")[..], b"t\x01"].concat();
    let properties = [&short("capabilities")[..], b"F", &long(&capability)].concat();
    let response = format!("\0{USER}\0{password}");
    [
        &START_OK[..],
        &long(&properties),
        &short("PLAIN"),
        &long(response.as_bytes()),
        &short("en_US"),
    ]
    .concat()
}

fn short(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("our own names are short");
    [&[length][..], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_listens_on_loopback_only_and_has_no_guest() {
        let text = configuration(5673, "pw");
        assert!(text.contains("listeners.tcp.local = 127.0.0.1:5673"));
        assert!(text.contains("default_user = devart"));
    }

    #[test]
    fn the_api_is_asked_by_post_so_that_no_key_is_in_a_path() {
        let logins = AgentLogins {
            api_url: "http://127.0.0.1:8080".to_owned(),
            secret: "s3cret".to_owned(),
        };
        let text = logins.configuration();
        assert!(text.contains("auth_http.http_method = post\n"));
        assert!(text.contains("user_path = http://127.0.0.1:8080/rabbitmq/s3cret/user\n"));
    }

    #[test]
    fn a_port_without_a_broker_does_not_answer() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        assert_eq!(login(port, "a password"), Login::NoAnswer);
    }
}
