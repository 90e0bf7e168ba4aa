//! What can be chosen about a cluster, and how its server can be stopped.

use std::path::{Path, PathBuf};

/// What can be chosen about a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Port on 127.0.0.1; a free one when none.
    pub port: Option<u16>,
    /// Password of the superuser; a random one when none. Only used when the cluster is made.
    pub password: Option<String>,
    /// Data directory of a stopped cluster to begin with, whose password must be given, too; an empty one when none.
    pub copy_of: Option<PathBuf>,
    /// False turns off fsync and friends: much faster, for clusters that nobody will miss after a power cut.
    pub durable: bool,
    /// Whether `pg_devart` is in `shared_preload_libraries`. Ignored while its library is not installed.
    pub preload: bool,
    /// Directory of the Unix socket; the cluster's own when none (a socket path may have 107 bytes at most).
    pub socket_dir: Option<PathBuf>,
    /// Further lines for the configuration, for instance `("max_connections", "300")`.
    pub settings: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            port: None,
            password: None,
            copy_of: None,
            durable: true,
            preload: true,
            socket_dir: None,
            settings: Vec::new(),
        }
    }
}

impl ClusterOptions {
    /// For tests: nothing survives a power cut, everything is fast.
    pub fn for_tests() -> Self {
        Self {
            durable: false,
            ..Self::default()
        }
    }

    /// The text of `devart.conf` for a cluster in `dir`.
    pub(super) fn configuration(&self, has_extension: bool, dir: &Path, port: u16) -> String {
        let socket_dir = self.socket_dir.as_deref().unwrap_or(dir);
        let port = port.to_string();
        let socket_dir = socket_dir.display().to_string();
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            ("unix_socket_directories", socket_dir.as_str()),
            ("max_connections", "200"),
            ("temp_file_limit", "4GB"),
            ("log_line_prefix", "%m [%p] %q%u@%d "),
        ];
        if self.preload && has_extension {
            settings.push(("shared_preload_libraries", "pg_devart"));
        }
        if !self.durable {
            settings
                .extend(["fsync", "synchronous_commit", "full_page_writes"].map(|it| (it, "off")));
        }
        settings.extend(
            self.settings
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        settings
            .iter()
            .map(|(name, value)| setting(name, value))
            .collect()
    }
}

fn setting(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Disconnect clients, write everything out.
    Fast,
    /// As in a crash: the next start recovers from the log.
    Immediate,
}

impl StopMode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_settings_come_last_so_that_they_win() {
        let options = ClusterOptions {
            settings: vec![("max_connections".to_owned(), "300".to_owned())],
            ..ClusterOptions::for_tests()
        };
        let text = options.configuration(true, Path::new("/tmp/it's"), 5000);
        assert!(text.ends_with("max_connections = '300'\n"), "{text}");
        assert!(text.contains("fsync = 'off'"), "{text}");
        assert!(
            text.contains("unix_socket_directories = '/tmp/it''s'"),
            "{text}"
        );
    }
}
