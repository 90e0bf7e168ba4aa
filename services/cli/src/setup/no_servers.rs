//! Keeps package scripts from making or starting servers while they are installed: ours are private, and the machine's
//! owner did not ask for others.

use std::path::Path;

use anyhow::{Context, Result};

use crate::run_as::run;
use crate::shell::as_root;

/// Debian asks this program before it starts a service; 101 means no.
const POLICY: (&str, &str, &str) = (
    "/usr/sbin/policy-rc.d",
    "755",
    "#!/bin/sh\n# Made by devart for the time of one installation.\nexit 101\n",
);

/// Debian's Postgres packages make a cluster `main` unless told not to.
const NO_CLUSTER: (&str, &str, &str) = (
    "/etc/postgresql-common/createcluster.d/devart.conf",
    "644",
    "# Made by devart for the time of one installation.\ncreate_main_cluster = false\n",
);

/// While this value lives, installing packages starts nothing. Files that were there before stay as they are.
pub struct NoServers {
    made: Vec<&'static str>,
}

impl NoServers {
    /// Puts the two files in place.
    pub fn begin() -> Result<Self> {
        let mut guard = Self { made: Vec::new() };
        for (path, mode, text) in [POLICY, NO_CLUSTER] {
            if !Path::new(path).exists() {
                install(path, mode, text)?;
                guard.made.push(path);
            }
        }
        Ok(guard)
    }
}

fn install(path: &str, mode: &str, text: &str) -> Result<()> {
    let draft = std::env::temp_dir().join(format!("devart-{}", crate::random::word(10)));
    std::fs::write(&draft, text).context("drafting a file for /etc")?;
    let done = run(as_root("install")?
        .args(["-D", "-m", mode])
        .arg(&draft)
        .arg(path));
    let _ = std::fs::remove_file(&draft);
    done.map(drop)
}

impl Drop for NoServers {
    fn drop(&mut self) {
        for path in &self.made {
            if let Err(error) = as_root("rm").and_then(|mut rm| run(rm.arg("-f").arg(path))) {
                warn!("could not remove {path}; remove it by hand: {error:#}");
            }
        }
    }
}
