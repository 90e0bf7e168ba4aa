//! As root: the servers' users own directories, and can put a link wherever we write next. What it
//! leads to is neither read, nor changed, nor handed over.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::rabbitmq::{AgentLogins, NodePorts, RabbitMq};
use devart_cli::run_as::{ServerUser, run};
use devart_cli::supervisor::process::Process;
use uuid::Uuid;

/// Root's own: a file with a secret, and a directory of files named as those that we write.
struct Witness {
    around: PathBuf,
}

impl Witness {
    fn make(names: &[&str]) -> Result<Self> {
        let around = std::env::temp_dir().join(format!("devart-links-{}", Uuid::now_v7()));
        std::fs::create_dir_all(around.join("dir"))?;
        // Others reach it, so that only rights of its own protect it.
        std::fs::set_permissions(&around, Permissions::from_mode(0o755))?;
        std::fs::set_permissions(around.join("dir"), Permissions::from_mode(0o755))?;
        for name in std::iter::once("file").chain(names.iter().copied()) {
            let path = if name == "file" {
                around.join(name)
            } else {
                around.join("dir").join(name)
            };
            std::fs::write(&path, "root's secret\n")?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        }
        Ok(Self { around })
    }

    /// Everything that there is to change.
    fn look(&self) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        let mut left = vec![self.around.join("file"), self.around.join("dir")];
        while let Some(path) = left.pop() {
            let it = std::fs::metadata(&path)?;
            let text = if it.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
                String::new()
            } else {
                std::fs::read_to_string(&path)?
            };
            seen.push(format!(
                "{} {} {} {:o} {text}",
                path.display(),
                it.uid(),
                it.gid(),
                it.mode()
            ));
        }
        seen.sort();
        Ok(seen)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.around);
    }
}

/// As the servers' user, puts links to what is root's in the place of each thing in its directory,
/// one after the other, and of some that are not there; each time lets `write` do its work.
fn with_links(
    dir: &Path,
    user: &ServerUser,
    further: &[&str],
    write: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut names: Vec<PathBuf> = further.iter().map(PathBuf::from).collect();
    for below in ["", "data"] {
        let entries = std::fs::read_dir(dir.join(below)).into_iter().flatten();
        names.extend(entries.filter_map(|it| Some(Path::new(below).join(it.ok()?.file_name()))));
    }
    ensure!(
        names.len() > further.len(),
        "there is nothing in {}",
        dir.display()
    );
    let leaves: Vec<&str> = names
        .iter()
        .filter_map(|it| it.file_name()?.to_str())
        .collect();
    let witness = Witness::make(&leaves)?;
    let before = witness.look()?;
    for name in &names {
        for target in ["file", "dir"] {
            let place = dir.join(name);
            let swap = r#"[ ! -e "$1" ] || mv -T -- "$1" "$1.aside"; ln -s -- "$2" "$1""#;
            let back = r#"rm -rf -- "$1"; [ ! -e "$1.aside" ] || mv -T -- "$1.aside" "$1""#;
            let script = |script: &str| {
                run(user
                    .command("/bin/sh")
                    .args(["-c", script, "sh"])
                    .args([&place, &witness.around.join(target)]))
            };
            script(swap)?;
            let done = write();
            let after = witness.look()?;
            assert_eq!(
                after,
                before,
                "{} led to {target}: {done:?}",
                name.display()
            );
            script(back)?;
        }
    }
    write().context("all is as before")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

#[test]
fn no_link_of_postgres_leads_root_astray() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("devart-links-pg-{}", Uuid::now_v7()));
    let write = || {
        let options = ClusterOptions {
            preload: false,
            ..ClusterOptions::for_tests()
        };
        Cluster::init(&dir, options).map(drop)
    };
    write()?;
    let user = ServerUser::for_server("postgres")?;
    let further = [
        "initial-password",
        "initial-password.new",
        "data/devart.conf.new",
        "data/postgresql.conf.new",
    ];
    with_links(&dir, &user, &further, write)?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

#[test]
fn no_link_of_rabbitmq_leads_root_astray() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("devart-links-mq-{}", Uuid::now_v7()));
    let ports = NodePorts {
        clients: 1,
        dist: 2,
        epmd: 3,
    };
    let agents = AgentLogins {
        api_url: "http://127.0.0.1:4".to_owned(),
        secret: "a-secret".to_owned(),
    };
    let write = || {
        let node = RabbitMq::init(&dir, "links", ports, "a-password")?;
        node.keep_logins("a-password", &agents)
    };
    write()?;
    let user = ServerUser::for_server("rabbitmq")?;
    let further = ["rabbitmq.conf.new", "definitions.json.new"];
    with_links(&dir, &user, &further, write)?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// A directory in a place where everybody can make one is not taken over from somebody else.
#[test]
fn what_belongs_to_another_user_is_not_taken_over() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("devart-links-tmp-{}", Uuid::now_v7()));
    let nobody = ServerUser::for_server("nobody")?;
    run(nobody.command("/bin/mkdir").arg(&dir))?;
    let before = std::fs::metadata(&dir)?.uid();
    let error = ServerUser::for_server("postgres")?
        .make_dir(&dir, 0o700)
        .expect_err("refused");
    assert!(
        format!("{error:#}").contains("belongs to another user"),
        "{error:#}"
    );
    assert_eq!(std::fs::metadata(&dir)?.uid(), before);
    std::fs::remove_dir(dir)?;
    Ok(())
}

/// Nor is a process ended that is not the user's, whatever its pid file says.
#[test]
fn a_pid_file_of_postgres_ends_no_process_of_root() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let clone = std::env::temp_dir().join(format!("devart-links-clone-{}", Uuid::now_v7()));
    std::fs::create_dir_all(clone.join(".devart/run"))?;
    let layout = devart_cli::layout::Layout {
        repo: clone.canonicalize()?,
    };
    let postgres = ServerUser::for_server("postgres")?;
    postgres.make_dir(&layout.postgres_dir(), 0o700)?;
    postgres.make_dirs_inside(&layout.postgres_dir(), &["data"])?;
    let data = layout.postgres_dir().join("data");
    let mut child = Command::new("sleep")
        .arg("600")
        .current_dir(&data)
        .spawn()?;
    let pid = i32::try_from(child.id())?;
    postgres.write(&data.join("postmaster.pid"), &format!("{pid}\n"))?;
    devart_cli::supervisor::orphans::stop(&layout)?;
    let is_alive = Process::of(pid).is_some();
    child.kill()?;
    child.wait()?;
    std::fs::remove_dir_all(clone)?;
    assert!(is_alive, "root's process was ended");
    Ok(())
}
