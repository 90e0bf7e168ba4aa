//! What `devart up` ends with.

use crate::layout::Layout;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Prints addresses, login, and where the rest is.
pub fn print(layout: &Layout, ports: &Ports, secrets: &Secrets) {
    let api = ports.api;
    println!(
        "
devart is up.

  API        http://127.0.0.1:{api}    (documentation: http://127.0.0.1:{api}/api/docs)
  login      {}  password {}
  Postgres   127.0.0.1:{}  database devart  user devart
  RabbitMQ   127.0.0.1:{}  user devart

  All addresses and secrets:   . {}
  Health, logs, stop:          devart status, devart logs api -f, devart down
  The devart command:          {}",
        secrets.admin_email,
        secrets.admin_password,
        ports.postgres,
        ports.rabbitmq.clients,
        layout.env_file().display(),
        layout.home().join("bin/devart").display(),
    );
}
