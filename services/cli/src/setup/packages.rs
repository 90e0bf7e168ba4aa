//! Debian packages.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::no_servers::NoServers;
use crate::disk;
use crate::layout::Layout;
use crate::postgres::{Postgres, SUPPORTED};
use crate::progress::Stage;
use crate::shell::{as_root, run_logged};

/// What is needed besides Postgres: compilers for pgrx, a broker, Python for the agents.
const ALWAYS: [&str; 10] = [
    "build-essential",
    "ca-certificates",
    "clang",
    "dpkg-dev",
    "libclang-dev",
    "libssl-dev",
    "pkg-config",
    "python3",
    "python3-venv",
    "rabbitmq-server",
];

/// How long to wait for another apt or dpkg.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);

/// Installs what is missing; gives the Postgres to use.
pub fn ensure(layout: &Layout, stage: &Stage, log: &Path) -> Result<(Postgres, String)> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("devart sets itself up with apt-get on Debian 12 or later; this machine has none");
    }
    if let Some(postgres) = present(layout) {
        let missing = missing(postgres)?;
        if missing.is_empty() {
            return Ok((postgres, format!("current, PostgreSQL {}", postgres.major)));
        }
        stage.note(&format!("installing {}", missing.join(" ")));
        install(&missing, log)?;
        return Ok((postgres, format!("installed {}", missing.join(" "))));
    }
    stage.note("reading the package lists");
    update_lists(log)?;
    let postgres = newest_available()?;
    let missing = missing(postgres)?;
    stage.note(&format!("installing {}", missing.join(" ")));
    install(&missing, log)?;
    Ok((postgres, format!("installed {}", missing.join(" "))))
}

/// The version that our cluster was made with, else the newest that is installed.
pub fn present(layout: &Layout) -> Option<Postgres> {
    // Root can read the version file; an ordinary user owns it.
    Postgres::of_data_dir(&layout.postgres_dir().join("data")).or_else(Postgres::newest_installed)
}

/// The packages that are not installed.
pub fn missing(postgres: Postgres) -> Result<Vec<String>> {
    let wanted = wanted(postgres);
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(&wanted)
        .output()
        .context("asking dpkg what is installed")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    Ok(wanted
        .into_iter()
        .filter(|name| !installed.contains(name.as_str()))
        .collect())
}

fn wanted(postgres: Postgres) -> Vec<String> {
    let major = postgres.major;
    let versioned = [
        format!("postgresql-{major}"),
        format!("postgresql-client-{major}"),
        format!("postgresql-server-dev-{major}"),
    ];
    ALWAYS
        .into_iter()
        .map(str::to_owned)
        .chain(versioned)
        .collect()
}

fn newest_available() -> Result<Postgres> {
    SUPPORTED
        .into_iter()
        .map(|major| Postgres { major })
        .find(|it| {
            is_available(&format!("postgresql-{}", it.major))
                && is_available(&format!("postgresql-server-dev-{}", it.major))
        })
        .context("apt offers no postgresql-15, -16 or -17 with its postgresql-server-dev package; is this Debian 12 or later?")
}

/// Whether apt could install a package.
pub fn is_available(package: &str) -> bool {
    let output = Command::new("apt-cache")
        .args(["policy", package])
        .env("LC_ALL", "C")
        .output();
    output.is_ok_and(|output| has_candidate(&String::from_utf8_lossy(&output.stdout)))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|version| version.trim() != "(none)")
}

/// Installs packages without letting them start anything.
pub fn install(packages: &[String], log: &Path) -> Result<()> {
    disk::require(Path::new("/usr"), 1500, "installing packages")?;
    update_lists(log)?;
    let had_rabbitmq = Path::new("/usr/sbin/rabbitmq-server").exists();
    let guard = NoServers::begin()?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(packages.iter().map(String::as_str));
    let installed = apt_get(&arguments, log);
    drop(guard);
    installed.with_context(|| {
        format!(
            "could not install the packages; try it by hand: apt-get install {}",
            packages.join(" ")
        )
    })?;
    if !had_rabbitmq {
        disable_system_broker(log);
    }
    Ok(())
}

/// The package enables a broker for the next boot. We brought the package, so we see to it that it stays ours alone.
fn disable_system_broker(log: &Path) {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    let disabled = as_root("systemctl")
        .and_then(|mut command| run_logged(command.args(["disable", "rabbitmq-server"]), log));
    if let Err(error) = disabled {
        eprintln!("could not disable the system's own rabbitmq-server: {error:#}");
    }
}

fn update_lists(log: &Path) -> Result<()> {
    apt_get(&["update"], log).context("could not read the package lists; is there a network?")
}

fn apt_get(arguments: &[&str], log: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        // sudo does not pass variables on, so env sets them behind it.
        let mut command = as_root("env")?;
        command
            .args([
                "DEBIAN_FRONTEND=noninteractive",
                "LC_ALL=C.UTF-8",
                "apt-get",
                "-y",
                "-q",
            ])
            .arg(format!("-oDPkg::Lock::Timeout={}", LOCK_PATIENCE.as_secs()))
            .args(arguments);
        match run_logged(&mut command, log) {
            // apt waits for dpkg's lock by itself, but not for the lock on its lists.
            Err(error) if is_locked(&format!("{error:#}")) => {
                if started.elapsed() > LOCK_PATIENCE {
                    bail!(
                        "another apt has held its lock for five minutes; let it finish, then run this again"
                    );
                }
                std::thread::sleep(Duration::from_secs(3));
            }
            result => return result,
        }
    }
}

fn is_locked(message: &str) -> bool {
    message.contains("Could not get lock") || message.contains("Unable to lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_candidate_is_not_available() {
        assert!(!has_candidate(
            "postgresql-17:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(has_candidate(
            "postgresql-15:\n  Installed: (none)\n  Candidate: 15.20-0+deb12u1\n"
        ));
        assert!(!has_candidate(""));
    }

    #[test]
    fn a_held_lock_is_told_from_other_failures() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7"
        ));
        assert!(!is_locked("E: Unable to locate package nonesuch"));
    }
}
