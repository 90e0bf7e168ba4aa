//! A private RabbitMQ node from Debian's package: own node name, cookie, port mapper, ports and
//! directories, so that it never meets a broker that already runs on the machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

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
        for part in ["", "home", "mnesia", "plugins", "log"] {
            node.user.make_dir(&dir.join(part), 0o700)?;
        }
        node.write("rabbitmq.conf", &configuration(ports.clients, password))?;
        node.write("env.conf", "")?;
        node.write("enabled_plugins", "[].\n")?;
        Ok(node)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("closing {}", path.display()))?;
        self.user.own(&path)
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
        command.env_clear();
        command
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
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
/// refuses while a node is registered.
pub fn stop_port_mapper(port: u16) {
    let _ = Command::new("/usr/bin/epmd")
        .args(["-port", &port.to_string(), "-kill"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn configuration(port: u16, password: &str) -> String {
    format!(
        "# Written by `devart up` at each start.\n\
         listeners.tcp.local = 127.0.0.1:{port}\n\
         default_user = {USER}\n\
         default_pass = {password}\n\
         default_user_tags.administrator = true\n\
         log.console = true\n\
         log.console.level = info\n\
         log.file = false\n"
    )
}

/// Whether a broker answers on this port: it greets with a `Connection.Start` frame.
pub fn answers(port: u16) -> bool {
    greet(port).unwrap_or(false)
}

fn greet(port: u16) -> std::io::Result<bool> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame = [0_u8; 11];
    stream.read_exact(&mut frame)?;
    // Frame type 1 (method) on channel 0; class 10 (connection), method 10 (start).
    Ok(frame[..3] == [1, 0, 0] && frame[7..] == [0, 10, 0, 10])
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
    fn a_port_without_a_broker_does_not_answer() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        assert!(!answers(port));
    }
}
