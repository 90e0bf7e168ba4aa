//! What RabbitMQ asks, as its plugin rabbitmq_auth_backend_http sends it. It sends more, which
//! decides nothing here.

use secrecy::SecretString;
use serde::Deserialize;
use uuid::Uuid;

/// Whose login: an agent's id and its API key.
#[derive(Debug, Deserialize)]
pub struct Login {
    pub username: String,
    /// None when the broker only wants to know what somebody may do who logged in elsewhere.
    pub password: Option<SecretString>,
}

/// May this agent use the virtual host?
#[derive(Debug, Deserialize)]
pub struct VirtualHostAccess {
    pub username: String,
    pub vhost: String,
}

/// May this agent do this with a queue or an exchange?
#[derive(Debug, Deserialize)]
pub struct ResourceAccess {
    pub username: String,
    pub vhost: String,
    /// `queue`, `exchange` or `topic`.
    pub resource: String,
    pub name: String,
    /// `configure`, `write` or `read`.
    pub permission: String,
}

impl ResourceAccess {
    /// Whether it is what agents do: taking messages out of a queue. No queue of ours has NUL in
    /// its name, which the database could not read.
    pub fn is_taking(&self) -> bool {
        self.resource == "queue" && self.permission == "read" && !self.name.contains('\0')
    }
}

/// The agent of this name: an id in the one form in which we write it.
pub fn agent_named(username: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(username).ok()?;
    (id.to_string() == username).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_one_name() {
        let id = "0198c3f0-0000-7000-8000-00000000000a";
        assert!(agent_named(id).is_some());
        for other in [
            &id.to_uppercase(),
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            "devart",
            "",
        ] {
            assert_eq!(agent_named(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_plugin_sends_beyond_this_is_no_obstacle_and_no_password_is_shown() {
        let form = "username=a&password=hunter2&vhost=%2f&client_id=&rabbit_auth_backend_http=x";
        let login: Login = serde_urlencoded::from_str(form).expect("a login");
        assert_eq!(login.username, "a");
        assert!(login.password.is_some() && !format!("{login:?}").contains("hunter2"));
    }

    #[test]
    fn agents_take_from_queues_and_do_nothing_else() {
        let access = |resource: &str, permission: &str| ResourceAccess {
            username: String::new(),
            vhost: "/".to_owned(),
            resource: resource.to_owned(),
            name: "tasks.todo".to_owned(),
            permission: permission.to_owned(),
        };
        assert!(access("queue", "read").is_taking());
        for (resource, permission) in [
            ("queue", "write"),
            ("queue", "configure"),
            ("exchange", "read"),
            ("exchange", "write"),
            ("topic", "read"),
        ] {
            assert!(!access(resource, permission).is_taking());
        }
    }
}
