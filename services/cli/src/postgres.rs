//! The Postgres installations that Debian put on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The major versions that pg_devart is built for, best first.
pub const SUPPORTED: [u32; 3] = [17, 16, 15];

/// One installed major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Postgres {
    /// The major version.
    pub major: u32,
}

impl Postgres {
    /// The newest supported version whose server and headers are both installed.
    pub fn newest_installed() -> Option<Self> {
        SUPPORTED
            .into_iter()
            .map(|major| Self { major })
            .find(|it| it.has_server() && it.has_headers())
    }

    /// The version that a data directory was made with, if there is one.
    pub fn of_data_dir(data: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data.join("PG_VERSION")).ok()?;
        Some(Self {
            major: text.trim().parse().ok()?,
        })
    }

    /// As [`Self::newest_installed`], or a sentence that says how to get one.
    pub fn require() -> Result<Self> {
        Self::newest_installed().context(
            "no PostgreSQL 15, 16 or 17 with its server headers is installed; run `devart setup`",
        )
    }

    /// A program of this version, for instance `initdb`.
    pub fn bin(self, program: &str) -> PathBuf {
        PathBuf::from(format!("/usr/lib/postgresql/{}/bin/{program}", self.major))
    }

    /// Where this version looks for extension libraries.
    pub fn library_dir(self) -> PathBuf {
        PathBuf::from(format!("/usr/lib/postgresql/{}/lib", self.major))
    }

    /// Where this version looks for extension control and script files.
    pub fn extension_dir(self) -> PathBuf {
        PathBuf::from(format!("/usr/share/postgresql/{}/extension", self.major))
    }

    /// Whether the server programs are there.
    pub fn has_server(self) -> bool {
        self.bin("postgres").exists() && self.bin("initdb").exists()
    }

    /// Whether extensions can be built against it.
    pub fn has_headers(self) -> bool {
        PathBuf::from(format!(
            "/usr/include/postgresql/{}/server/postgres.h",
            self.major
        ))
        .exists()
    }

    /// Whether the library of an extension is installed.
    pub fn has_library(self, name: &str) -> bool {
        self.library_dir().join(format!("{name}.so")).exists()
    }
}
