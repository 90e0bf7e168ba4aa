//! Where everything of an installation lives.
//!
//! Paths under `.devart` of the clone are ours alone. What the servers touch is under `.devart/state`, which is a
//! link to `/var/lib/devart/...` when the servers' users cannot enter the clone (root's home is closed to them).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::env_file;
use crate::random;
use crate::run_as::ServerUser;
use crate::{sourced, whose};

/// The longest directory in which a Unix socket of Postgres still fits (107 bytes with `/.s.PGSQL.65535.lock`).
const LONGEST_SOCKET_DIR: usize = 80;

/// Where state goes when the servers cannot enter the clone.
pub const OUTSIDE: &str = "/var/lib/devart";

/// How the note in such a place begins and ends; between is the path of the clone whose state it is.
const NOTE: (&str, &str) = ("State of the devart clone in ", ".\n");

/// The directories of one installation.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The clone.
    pub repo: PathBuf,
}

impl Layout {
    /// The clone named by `DEVART_ROOT`, or the one around the current directory.
    pub fn find() -> Result<Self> {
        if let Some(root) = std::env::var_os("DEVART_ROOT") {
            return Ok(Self {
                repo: std::fs::canonicalize(&root)
                    .with_context(|| format!("DEVART_ROOT is {}", root.display()))?,
            });
        }
        let here = std::env::current_dir().context("reading the current directory")?;
        let repo = here
            .ancestors()
            .find(|dir| dir.join("pg_devart/Cargo.toml").exists())
            .context(
                "this is not a clone of devart; change into one, or name it: DEVART_ROOT=/path devart ...",
            )?;
        Ok(Self {
            repo: repo.to_owned(),
        })
    }

    /// `.devart` in the clone.
    pub fn home(&self) -> PathBuf {
        self.repo.join(".devart")
    }

    /// Addresses and secrets, to be sourced by a shell.
    pub fn env_file(&self) -> PathBuf {
        self.home().join("env")
    }

    /// The recorded ports.
    pub fn ports_file(&self) -> PathBuf {
        self.home().join("ports")
    }

    /// The log of one part.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.log_dir().join(format!("{name}.log"))
    }

    /// Logs of the servers and of the set-up.
    pub fn log_dir(&self) -> PathBuf {
        self.home().join("log")
    }

    /// Pid files and locks.
    pub fn run_dir(&self) -> PathBuf {
        self.home().join("run")
    }

    /// The Python environment that agents run in.
    pub fn venv(&self) -> PathBuf {
        self.home().join("venv")
    }

    /// What the servers read and write.
    pub fn state_dir(&self) -> PathBuf {
        self.home().join("state")
    }

    /// The directory of the Postgres cluster.
    pub fn postgres_dir(&self) -> PathBuf {
        self.resolved_state().join("postgres")
    }

    /// The directory of the RabbitMQ node.
    pub fn rabbitmq_dir(&self) -> PathBuf {
        self.resolved_state().join("rabbitmq")
    }

    /// Our own programs, readable by every server user.
    pub fn bin_dir(&self) -> PathBuf {
        self.resolved_state().join("bin")
    }

    /// A directory for Postgres' Unix socket, short enough for one.
    pub fn socket_dir(&self) -> PathBuf {
        let dir = self.postgres_dir();
        if dir.as_os_str().len() <= LONGEST_SOCKET_DIR {
            return dir;
        }
        std::env::temp_dir().join(format!("devart-{}", self.id()))
    }

    /// Through the link, if it is one: the servers may be unable to walk to the link itself.
    pub fn resolved_state(&self) -> PathBuf {
        std::fs::canonicalize(self.state_dir()).unwrap_or_else(|_| self.state_dir())
    }

    /// The other clone whose state `.devart/state` leads to: this one is a copy of it.
    pub fn state_of_another(&self) -> Option<PathBuf> {
        let owner = self.state_owner()?;
        let leads_there = |clone: &Path| {
            let theirs = std::fs::canonicalize(clone.join(".devart/state"));
            theirs.is_ok_and(|it| it == self.resolved_state())
        };
        (!whose::is_same(&owner, &self.repo) && leads_there(&owner)).then_some(owner)
    }

    /// What the note in a state outside of the clone says.
    fn state_owner(&self) -> Option<PathBuf> {
        if !self.state_dir().is_symlink() {
            return None;
        }
        let note = std::fs::read_to_string(self.resolved_state().join("README")).ok()?;
        let owner = note.strip_prefix(NOTE.0)?.strip_suffix(NOTE.1)?;
        Some(owner.into())
    }

    /// A short name for this clone, different for each path.
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.repo.as_os_str().as_encoded_bytes())[..6])
    }

    /// The file `.env` of the clone: settings that people wrote down. Empty values do not count.
    pub fn env_overrides(&self) -> Result<BTreeMap<String, String>> {
        let mut values = env_file::read(&self.repo.join(".env"))?;
        values.retain(|_, value| !value.is_empty());
        Ok(values)
    }

    /// The settings people gave: the file `.env` of the clone, overridden by the environment.
    pub fn settings(&self) -> Result<BTreeMap<String, String>> {
        let mut settings = self.env_overrides()?;
        let environment = environment()
            .into_iter()
            .filter(|(_, value)| !value.is_empty());
        settings.extend(sourced::without_others(environment.collect(), &self.repo));
        Ok(settings)
    }

    /// The other clone whose `.devart/env` this process has in its environment.
    pub fn sourced_from(&self) -> Option<PathBuf> {
        sourced::other(&environment(), &self.repo)
    }

    /// Makes `.devart` with its private directories.
    pub fn create(&self) -> Result<()> {
        make_dir(&self.home(), 0o755)?;
        make_dir(&self.log_dir(), 0o700)?;
        make_dir(&self.run_dir(), 0o700)
    }

    /// Makes the state directory where the servers can reach it. Needs the servers' users, so the packages come first.
    pub fn create_state(&self) -> Result<()> {
        self.refuse_state_of_another()?;
        let state = self.state_dir();
        if !state.exists() {
            // A link whose target is gone would make the directory below fail.
            let _ = std::fs::remove_file(&state);
            make_dir(&state, 0o755)?;
        }
        let users = [
            ServerUser::for_server("postgres")?,
            ServerUser::for_server("rabbitmq")?,
        ];
        if !users
            .iter()
            .all(|user| user.can_enter(&self.resolved_state()))
        {
            self.move_state_outside()?;
        }
        if self.state_owner().is_some_and(|it| it != self.repo) {
            // The clone was moved.
            self.note_owner(&self.resolved_state())?;
        }
        make_dir(&self.bin_dir(), 0o755)?;
        self.link_bin_dir()?;
        let socket_dir = self.socket_dir();
        if socket_dir != self.postgres_dir() {
            users[0].make_dir(&socket_dir, 0o700)?;
        }
        Ok(())
    }

    /// A copied clone must not work on the servers of the original.
    pub fn refuse_state_of_another(&self) -> Result<()> {
        if let Some(owner) = self.state_of_another() {
            bail!(
                "{} is the state of the clone in {}, of which this one is a copy; remove {} here, \
                 then run this again",
                self.state_dir().display(),
                owner.display(),
                self.home().display()
            );
        }
        Ok(())
    }

    /// So that people need not know where the state is.
    fn link_bin_dir(&self) -> Result<()> {
        let shortcut = self.home().join("bin");
        if shortcut.exists() {
            return Ok(());
        }
        let _ = std::fs::remove_file(&shortcut);
        symlink("state/bin", shortcut).context("linking .devart/bin")
    }

    fn move_state_outside(&self) -> Result<()> {
        let mut outside = PathBuf::from(OUTSIDE).join(self.id());
        if outside.exists() {
            // Left by an earlier clone at the same path. It may hold somebody's data, and its passwords are gone.
            outside = PathBuf::from(OUTSIDE).join(format!("{}-{}", self.id(), random::word(6)));
        }
        make_dir(Path::new(OUTSIDE), 0o755)?;
        make_dir(&outside, 0o755)?;
        self.note_owner(&outside)?;
        std::fs::remove_dir(self.state_dir())
            .with_context(|| format!("{} is not empty", self.state_dir().display()))?;
        symlink(&outside, self.state_dir()).context("linking .devart/state")
    }

    fn note_owner(&self, state: &Path) -> Result<()> {
        let note = format!("{}{}{}", NOTE.0, self.repo.display(), NOTE.1);
        std::fs::write(state.join("README"), note)
            .context("writing the note about whose state this is")
    }
}

/// What of the environment is text: a variable that is not can be none of ours.
fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

/// Build output and tools, shared by all clones of one user.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("devart"))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(cache_dir()?.join("target")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_clone_gets_a_short_socket_directory() {
        let layout = Layout {
            repo: PathBuf::from(format!("/{}", "deep/".repeat(30))),
        };
        assert!(layout.socket_dir().as_os_str().len() <= LONGEST_SOCKET_DIR);
    }

    #[test]
    fn clones_at_different_paths_have_different_ids() {
        let id = |path: &str| Layout { repo: path.into() }.id();
        assert_ne!(id("/a"), id("/b"));
    }
}
