//! Which operating system user a server runs as, and starting programs as that user.
//!
//! Postgres refuses to run as root. So as root each server runs as the user its Debian package made; as an
//! ordinary user the servers simply run as that user.
//!
//! A server's user can replace whatever lies in its own directories, by a link too. So root neither
//! writes nor reads there: it lets that user do it, who reaches nothing else than before.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{User, geteuid};

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

    /// A command that will run as this user, in a directory every user can enter, and without our
    /// environment, which may hold secrets that this user is not to read in `/proc`.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir("/")
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C.UTF-8");
        if let Self::Other(user) = self {
            // std also drops root's supplementary groups when it changes the uid.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    fn uid(&self) -> u32 {
        match self {
            Self::Current => geteuid().as_raw(),
            Self::Other(user) => user.uid.as_raw(),
        }
    }

    /// Whether a running process is this user's.
    pub fn runs(&self, pid: i32) -> bool {
        std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|it| it.uid() == self.uid())
    }

    /// Makes a directory that belongs to this user, with the given mode, in one that belongs to us
    /// or where nobody can replace what is ours (`/tmp`). An existing one is only given over, unless
    /// it is somebody else's or a link.
    pub fn make_dir(&self, path: &Path, mode: u32) -> Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("making {}", parent.display()))?;
        }
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("making {}", path.display()))?;
            }
            _ => {}
        }
        let dir = open_dir(path)?;
        let owner = dir
            .metadata()
            .with_context(|| format!("looking at {}", path.display()))?
            .uid();
        ensure!(
            [geteuid().as_raw(), self.uid()].contains(&owner),
            "{} belongs to another user (uid {owner}); remove it, or have that user remove it",
            path.display()
        );
        if let Self::Other(user) = self {
            fchown(&dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("giving {} to {}", path.display(), user.name))?;
        }
        dir.set_permissions(std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of {}", path.display()))
    }

    /// Makes directories in one of this user's own, closed to others.
    pub fn make_dirs_inside(&self, dir: &Path, names: &[&str]) -> Result<()> {
        const SCRIPT: &str = r#"cd -- "$1" && shift && mkdir -p -- "$@" && chmod 700 -- "$@""#;
        let output = self
            .script(SCRIPT, dir)
            .args(names)
            .stdin(Stdio::null())
            .output()
            .context("starting /bin/sh")?;
        judge(&output).with_context(|| format!("making directories in {}", dir.display()))
    }

    /// Puts a file in place, in a directory of this user's own: in one step, closed to others.
    pub fn write(&self, path: &Path, text: &str) -> Result<()> {
        const SCRIPT: &str = r#"rm -f -- "$1.new" && cat > "$1.new" && mv -fT -- "$1.new" "$1""#;
        let what = || format!("writing {}", path.display());
        let mut child = self
            .script(SCRIPT, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting /bin/sh")?;
        let mut input = child.stdin.take().context("no standard input")?;
        let sent = input.write_all(text.as_bytes());
        drop(input);
        let output = child.wait_with_output().with_context(what)?;
        judge(&output).with_context(what)?;
        sent.with_context(what)
    }

    /// The text of a file, read with the rights of this user.
    pub fn read(&self, path: &Path) -> Result<String> {
        // Whoever owns the directory may have put a pipe there, which nobody ever writes into.
        run(&mut self.script("test -f \"$1\" && exec cat -- \"$1\"", path))
    }

    /// A script of the shell that gets a path as its first argument; what it makes is closed to
    /// others.
    fn script(&self, script: &str, path: &Path) -> Command {
        let mut command = self.command("/bin/sh");
        command
            .arg("-c")
            .arg(format!("umask 077 && {script}"))
            .arg("sh")
            .arg(path);
        command
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

/// A directory itself, never what a link of its name leads to.
fn open_dir(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .with_context(|| {
            format!(
                "{} must be a directory, not a link or a file",
                path.display()
            )
        })
}

fn judge(output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{} ({})", said.trim(), output.status)
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
    use std::path::PathBuf;

    use crate::random;

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

    #[test]
    fn what_is_written_is_read_and_nobody_elses() {
        let dir = temporary();
        ServerUser::Current.make_dir(&dir, 0o755).expect("made");
        let file = dir.join("it's a file");
        let text = "one\n".repeat(50_000);
        for text in ["", &text] {
            ServerUser::Current.write(&file, text).expect("written");
            assert_eq!(ServerUser::Current.read(&file).expect("read"), text);
        }
        let mode = std::fs::metadata(&file).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_link_is_no_directory_to_give_away() {
        let (dir, link) = (temporary(), temporary());
        std::fs::create_dir(&dir).expect("made");
        std::os::unix::fs::symlink(&dir, &link).expect("linked");
        let error = ServerUser::Current
            .make_dir(&link, 0o700)
            .expect_err("refused");
        assert!(error.to_string().contains("not a link"), "{error:#}");
        let mode = std::fs::metadata(&dir).expect("it is there").mode();
        assert_ne!(mode & 0o777, 0o700);
        std::fs::remove_file(link).expect("removed");
        std::fs::remove_dir(dir).expect("removed");
    }

    #[test]
    fn nobody_waits_for_a_pipe() {
        let pipe = temporary();
        run(Command::new("mkfifo").arg(&pipe)).expect("made");
        ServerUser::Current.read(&pipe).expect_err("refused");
        std::fs::remove_file(pipe).expect("removed");
    }

    #[test]
    fn a_servers_user_does_not_learn_our_environment() {
        let output = run(&mut ServerUser::Current.command("env")).expect("env runs");
        let names: Vec<&str> = output
            .lines()
            .filter_map(|it| it.split('=').next())
            .collect();
        assert!(
            names
                .iter()
                .all(|name| ["PATH", "LC_ALL", "PWD"].contains(name)),
            "{names:?}"
        );
    }

    fn temporary() -> PathBuf {
        std::env::temp_dir().join(format!("devart-run-as-{}", random::word(8)))
    }
}
