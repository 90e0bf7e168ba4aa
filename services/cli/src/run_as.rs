//! Which operating system user a server runs as, and starting programs as that user.
//!
//! Postgres refuses to run as root. So as root each server runs as the user its Debian package made; as an
//! ordinary user the servers simply run as that user.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::{User, chown, geteuid};

/// The user that a server runs as.
#[derive(Debug, Clone)]
pub enum ServerUser {
    /// Whoever runs us: we are not root.
    Current,
    /// Another account: we are root.
    Other(User),
}

impl ServerUser {
    /// `account` when we are root, else ourselves.
    pub fn for_server(account: &str) -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::Current);
        }
        match User::from_name(account).with_context(|| format!("looking up the user {account}"))? {
            Some(user) => Ok(Self::Other(user)),
            None => bail!(
                "there is no user {account} on this machine; its Debian package makes it: run `devart setup`"
            ),
        }
    }

    /// A command that will run as this user, in a directory every user can enter.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Self::Other(user) = self {
            // std also drops root's supplementary groups when it changes the uid.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            command
                .env("HOME", &user.dir)
                .env("USER", &user.name)
                .env("LOGNAME", &user.name);
        }
        command
    }

    /// Gives a file or directory to this user.
    pub fn own(&self, path: &Path) -> Result<()> {
        if let Self::Other(user) = self {
            chown(path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} to {}", path.display(), user.name))?;
        }
        Ok(())
    }

    /// Makes a directory that belongs to this user, with the given mode. An existing one is only given over.
    pub fn make_dir(&self, path: &Path, mode: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of {}", path.display()))?;
        self.own(path)
    }

    /// Whether this user can enter `path`. Asked of the kernel, as that user, so that every parent directory and ACL counts.
    pub fn can_enter(&self, path: &Path) -> bool {
        self.command("/usr/bin/test")
            .arg("-x")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Runs a command to its end and gives its output; a failure becomes a sentence with what it wrote to stderr.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{name} failed ({}): {}", output.status, said.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_reports_what_it_wrote() {
        let error =
            run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).expect_err("it fails");
        assert!(error.to_string().contains("no luck"), "{error}");
    }

    #[test]
    fn a_command_of_the_current_user_runs_in_the_root_directory() {
        let output = run(&mut ServerUser::Current.command("pwd")).expect("pwd runs");
        assert_eq!(output.trim(), "/");
    }
}
