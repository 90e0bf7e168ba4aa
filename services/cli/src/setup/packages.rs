//! Debian packages.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::no_servers::NoServers;
use crate::disk;
use crate::layout::Layout;
use crate::postgres::{Choice, Postgres, SUPPORTED};
use crate::progress::Stage;
use crate::run_as::ServerUser;
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
    let choice = match choice(layout)? {
        Some(choice) => choice,
        None => {
            stage.note("reading the package lists");
            update_lists(log)?;
            newest_available()?
        }
    };
    let missing = missing(&choice)?;
    let what = if missing.is_empty() {
        "current".to_owned()
    } else {
        let names = missing.join(" ");
        stage.note(&format!("installing {names}"));
        install(&missing, log)?;
        format!("installed {names}")
    };
    let postgres = choice.open()?;
    postgres.require_headers()?;
    require_reachable(&postgres)?;
    let major = postgres.major;
    Ok((postgres, format!("{what}, PostgreSQL {major}")))
}

/// Root's home, say, is closed to the user that runs the server.
fn require_reachable(postgres: &Postgres) -> Result<()> {
    let programs = postgres.bin("");
    if !ServerUser::for_server("postgres")?.can_enter(&programs) {
        bail!(
            "the Postgres user cannot enter {}: a directory above it is closed",
            programs.display()
        );
    }
    Ok(())
}

/// What `DEVART_PG` says, else the version that our cluster was made with, else the newest that is
/// installed.
pub fn choice(layout: &Layout) -> Result<Option<Choice>> {
    // Root can read the version file of the data directory; an ordinary user owns it.
    let of_cluster = || Choice::of_data_dir(&layout.postgres_dir().join("data"));
    let newest = || Postgres::newest_installed().map(|it| Choice::Debian(it.major));
    Ok(Choice::made()?.or_else(of_cluster).or_else(newest))
}

/// The packages that are not installed.
pub fn missing(choice: &Choice) -> Result<Vec<String>> {
    not_installed(wanted(choice))
}

/// Those of `wanted` that are not installed.
pub fn not_installed(wanted: Vec<String>) -> Result<Vec<String>> {
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

fn wanted(choice: &Choice) -> Vec<String> {
    let mut wanted: Vec<String> = ALWAYS.into_iter().map(str::to_owned).collect();
    match choice {
        // Another installation brings its own, all but the user that runs it for root.
        Choice::PgConfig(_) if ServerUser::for_server("postgres").is_ok() => {}
        Choice::PgConfig(_) => wanted.push("postgresql-common".to_owned()),
        Choice::Debian(major) => wanted.extend([
            format!("postgresql-{major}"),
            format!("postgresql-client-{major}"),
            format!("postgresql-server-dev-{major}"),
        ]),
    }
    wanted
}

/// The newest supported version that apt offers.
pub fn newest_available() -> Result<Choice> {
    let major = SUPPORTED.into_iter().find(|major| {
        is_available(&format!("postgresql-{major}"))
            && is_available(&format!("postgresql-server-dev-{major}"))
    });
    major.map(Choice::Debian).context(
        "apt offers no postgresql-15, -16, -17 or -18 with its postgresql-server-dev package; is this Debian 12 or later?",
    )
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
        warn!("could not disable the system's own rabbitmq-server: {error:#}");
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
