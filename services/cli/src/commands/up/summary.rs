//! What `devart up` ends with.

use std::path::Path;

use crate::env_file;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// As a shell takes it, whatever the path has in it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if path.chars().all(is_plain) {
        return path;
    }
    env_file::quote(&path)
}

/// Prints addresses, login, and where the rest is.
pub fn print(layout: &Layout, ports: &Ports, secrets: &Secrets) {
    let api = ports.api;
    say!(
        "
devart is up.

  API        http://127.0.0.1:{api}    (documentation: http://127.0.0.1:{api}/api/docs)
  login      {}  password {}
  Postgres   127.0.0.1:{}  database devart  user devart
  RabbitMQ   127.0.0.1:{}  agents log in with their id and key

  All addresses and secrets:   . {}
  Health, logs, stop:          devart status, devart logs api -f, devart down
  The devart command:          {}",
        secrets.admin.email,
        secrets.admin.password,
        ports.postgres,
        ports.rabbitmq.clients,
        quoted(&layout.env_file()),
        quoted(&layout.home().join("bin/devart")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_sources_what_is_printed_whatever_the_path() {
        let dir = std::env::temp_dir().join(format!("it's a $HOME {}", crate::random::word(8)));
        std::fs::create_dir(&dir).expect("made");
        let file = dir.join("env");
        std::fs::write(&file, "printf %s sourced").expect("written");
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(". {}", quoted(&file)))
            .output()
            .expect("sh runs");
        std::fs::remove_dir_all(dir).expect("removed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "sourced");
        assert_eq!(quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
    }
}
