//! `devart doctor`: what is wrong, and the command that mends it.
//!
//! What follows `mend:` is a command for a shell, up to a remark in brackets. `tests/installation`
//! breaks an installation in each of these ways and does what is printed.

use anyhow::{Result, bail};
use sqlx::{Connection, PgConnection};

use crate::bridges::BRIDGES;
use crate::health::WrongPassword;
use crate::installation::Installation;
use crate::layout::{Layout, cache_dir, target_dir};
use crate::ports::Ports;
use crate::postgres::{Choice, Postgres};
use crate::setup::{extension, packages, pgvector};
use crate::{disk, env_file, health, supervisor};

/// Below this much free space things begin to fail.
const LITTLE_MIB: u64 = 1000;

/// One thing that was looked at.
struct Check {
    what: &'static str,
    finding: Finding,
}

enum Finding {
    Good(String),
    /// Works, but could be better.
    Hint {
        what: String,
        mend: String,
    },
    Bad {
        what: String,
        mend: String,
    },
}

use Finding::{Bad, Good, Hint};

fn bad(what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Bad {
        what: what.into(),
        mend: mend.into(),
    }
}

/// Looks at everything and prints what it found; an error when something is broken.
pub async fn run(layout: &Layout) -> Result<()> {
    let mut checks = machine(layout);
    checks.extend(servers(layout).await);
    for check in &checks {
        print(check);
    }
    let broken = checks
        .iter()
        .filter(|check| matches!(check.finding, Bad { .. }))
        .count();
    if broken > 0 {
        bail!("{broken} of {} things need mending", checks.len());
    }
    say!("\nNothing to mend.");
    Ok(())
}

fn print(check: &Check) {
    match &check.finding {
        Good(what) => say!("  ok    {:<15} {what}", check.what),
        Hint { what, mend } => say!(
            "  hint  {:<15} {what}\n                        better: {mend}",
            check.what
        ),
        Bad { what, mend } => say!(
            "  BAD   {:<15} {what}\n                        mend:   {mend}",
            check.what
        ),
    }
}

/// What is installed.
fn machine(layout: &Layout) -> Vec<Check> {
    let mut checks = vec![Check {
        what: "disk",
        finding: disk_space(layout),
    }];
    let mut packages = |finding| {
        checks.push(Check {
            what: "packages",
            finding,
        });
    };
    let choice = match packages::choice(layout) {
        Ok(Some(choice)) => choice,
        Ok(None) => {
            packages(bad(
                "no PostgreSQL 15, 16, 17 or 18 with its headers is installed",
                "devart setup",
            ));
            return checks;
        }
        Err(error) => {
            packages(bad(format!("{error:#}"), "unset DEVART_PG"));
            return checks;
        }
    };
    let postgres = match choice.open() {
        Ok(postgres) => postgres,
        Err(error) => {
            packages(bad(format!("{error:#}"), "devart setup"));
            return checks;
        }
    };
    packages(installed_packages(&choice, &postgres));
    let pgvector = if pgvector::is_installed(&postgres) {
        Good("installed".into())
    } else {
        bad("not installed", "devart setup")
    };
    checks.push(Check {
        what: "pgvector",
        finding: pgvector,
    });
    checks.push(Check {
        what: "extension",
        finding: built_extension(layout, &postgres),
    });
    checks
}

fn disk_space(layout: &Layout) -> Finding {
    let cache = cache_dir().unwrap_or_default();
    for path in [layout.state_dir(), cache] {
        match disk::free_mib(&path) {
            Ok(free) if free < LITTLE_MIB => {
                return bad(
                    format!("only {free} MiB free at {}", path.display()),
                    format!("rm -rf {}    (builds; or make room elsewhere)", builds()),
                );
            }
            Ok(_) => {}
            Err(error) => return bad(format!("{error:#}"), "df -h    (shows the disks)"),
        }
    }
    Good("enough".into())
}

/// What cargo built, which it builds again.
fn builds() -> String {
    let target = target_dir().unwrap_or_default();
    env_file::quote(&target.display().to_string())
}

fn installed_packages(choice: &Choice, postgres: &Postgres) -> Finding {
    match packages::missing(choice) {
        Ok(missing) if missing.is_empty() => {
            Good(format!("all installed, PostgreSQL {}", postgres.major))
        }
        Ok(missing) => bad(
            format!("missing: {}", missing.join(" ")),
            format!(
                "devart setup    (or: apt-get install {})",
                missing.join(" ")
            ),
        ),
        Err(error) => bad(format!("{error:#}"), "dpkg --configure -a"),
    }
}

fn built_extension(layout: &Layout, postgres: &Postgres) -> Finding {
    match extension::is_current(layout, postgres) {
        Ok(true) => Good("installed from these sources".into()),
        Ok(false) => bad(
            "not installed, or built from other sources than these",
            "devart up",
        ),
        Err(error) => bad(format!("{error:#}"), "devart up"),
    }
}

/// What is running.
async fn servers(layout: &Layout) -> Vec<Check> {
    let Ok(installation) = Installation::open(layout) else {
        return vec![Check {
            what: "servers",
            finding: bad("never started", "devart up"),
        }];
    };
    if matches!(supervisor::running(layout), Ok(None)) {
        let mut checks = vec![Check {
            what: "supervisor",
            finding: bad("not running", "devart up"),
        }];
        // After a kill, our own servers may still hold the ports; `devart up` ends them.
        if !supervisor::orphans::may_exist(layout) {
            checks.extend(taken_ports(layout));
        }
        return checks;
    }
    let mut checks = parts(layout).await;
    checks.extend(bridges(&installation));
    checks.extend(database(layout).await);
    checks
}

fn taken_ports(layout: &Layout) -> Vec<Check> {
    let Some(ports) = Ports::recorded(&layout.ports_file()) else {
        return Vec::new();
    };
    let taken = ports.taken().into_iter();
    taken
        .map(|it| Check {
            what: "ports",
            finding: bad(
                format!(
                    "port {} of {} is used by another program",
                    it.number, it.what
                ),
                format!("{}=NUMBER devart up    (or stop that program)", it.variable),
            ),
        })
        .collect()
}

/// What bridges need and people have not chosen.
fn bridges(installation: &Installation) -> Vec<Check> {
    let is_set = |name: &str| installation.has(name);
    let lacking = BRIDGES.iter().filter_map(|bridge| {
        let missing = bridge.missing(is_set).join(" and ");
        let mend = format!("devart up    (after writing {missing} into .env)");
        let finding = match bridge.stand_in(is_set) {
            _ if missing.is_empty() => return None,
            Some(stand_in) => Hint {
                what: format!(
                    "a stand-in for {} takes the {}",
                    bridge.outside, stand_in.takes
                ),
                mend,
            },
            None => bad(format!("no {missing} is set"), mend),
        };
        Some(Check {
            what: bridge.part,
            finding,
        })
    });
    lacking.collect()
}

async fn parts(layout: &Layout) -> Vec<Check> {
    let parts = match health::all(layout).await {
        Ok(parts) => parts,
        Err(error) => {
            return vec![Check {
                what: "servers",
                finding: bad(format!("{error:#}"), "devart up"),
            }];
        }
    };
    parts
        .into_iter()
        .map(|part| {
            let finding = match part.outcome {
                Ok(what) => Good(what),
                Err(error) => bad(format!("{error:#}"), way_out(part.name, &error)),
            };
            Check {
                what: part.name,
                finding,
            }
        })
        .collect()
}

/// What helps a part that is not well.
fn way_out(part: &str, error: &anyhow::Error) -> String {
    let is_away = error.chain().any(|it| it.is::<sqlx::Error>());
    match part {
        "migrations" if !is_away => "devart migrate".to_owned(),
        "migrations" => way_out("postgres", error),
        // It sets the password that is recorded.
        _ if error.is::<WrongPassword>() => "devart up".to_owned(),
        "supervisor" => "devart up".to_owned(),
        name => format!("devart down; devart up    (what it says: devart logs {name})"),
    }
}

async fn database(layout: &Layout) -> Vec<Check> {
    let Ok(mut connection) = connect(layout).await else {
        return Vec::new();
    };
    let version = Check {
        what: "version",
        finding: extension_version(&mut connection)
            .await
            .unwrap_or_else(|error| bad(format!("{error:#}"), "devart migrate")),
    };
    let preload = Check {
        what: "preload",
        finding: preloaded(&mut connection)
            .await
            .unwrap_or_else(|error| bad(format!("{error:#}"), "devart logs postgres")),
    };
    let _ = connection.close().await;
    vec![version, preload]
}

async fn connect(layout: &Layout) -> Result<PgConnection> {
    Installation::open(layout)?.connect().await
}

async fn extension_version(connection: &mut PgConnection) -> Result<Finding> {
    let row: Option<(Option<String>, Option<String>)> =
        sqlx::query_as("select installed_version, default_version from pg_available_extensions where name = 'pg_devart'").fetch_optional(connection).await?;
    Ok(match row {
        None => bad(
            "Postgres does not know the extension pg_devart",
            "devart up",
        ),
        Some((None, _)) => bad("the database has no extension pg_devart", "devart migrate"),
        Some((Some(have), Some(want))) if have != want => bad(
            format!("the database has pg_devart {have}, installed is {want}"),
            "devart migrate",
        ),
        Some((Some(have), _)) => Good(format!("pg_devart {have}")),
    })
}

async fn preloaded(connection: &mut PgConnection) -> Result<Finding> {
    let libraries: String =
        sqlx::query_scalar("select current_setting('shared_preload_libraries')")
            .fetch_one(connection)
            .await?;
    if libraries.split(',').any(|it| it.trim() == "pg_devart") {
        return Ok(Good("pg_devart is preloaded".into()));
    }
    Ok(Hint {
        what: "pg_devart is not in shared_preload_libraries; it works, but each commit that wakes somebody sends its own NOTIFY, which cuts enqueueing by many clients to a third (make bench, `create`)".into(),
        mend: "devart down; devart up    (elsewhere: shared_preload_libraries = 'pg_devart' in postgresql.conf, and a restart)".into(),
    })
}
