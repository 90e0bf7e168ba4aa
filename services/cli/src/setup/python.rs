//! The Python environment that agents run in: Debian's Python, the SDK of this clone installed for editing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::hash::file_sha256;
use crate::layout::Layout;
use crate::progress::Stage;
use crate::run_as::run;
use crate::shell::run_logged;

/// Makes the environment, or brings it up to the SDK's requirements.
pub fn ensure(
    layout: &Layout,
    with_tests: bool,
    stage: &Stage,
    log: &Path,
) -> Result<((), String)> {
    let venv = layout.venv();
    let stamp_file = venv.join("devart.stamp");
    let wanted = stamp(layout, with_tests)?;
    let have = std::fs::read_to_string(&stamp_file).unwrap_or_default();
    // An environment with the test tools does for running, too.
    if have == wanted || have == stamp(layout, true)? {
        return Ok(((), "current".to_owned()));
    }
    stage.note("installing the SDK");
    // Agents may be running in it: only one of another Python or place is thrown away, others are added to.
    if !same_base(&have, &wanted) {
        make_venv(&venv, log)?;
    }
    let extras = if with_tests { "[dev]" } else { "" };
    let mut install = Command::new(venv.join("bin/pip"));
    install
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--editable",
        ])
        .arg(format!(
            "{}{extras}",
            layout.repo.join("agents/sdk").display()
        ));
    run_logged(&mut install, log)
        .context("could not install the SDK's requirements; is there a network?")?;
    std::fs::write(&stamp_file, wanted).context("remembering what was installed")?;
    Ok((
        (),
        if with_tests {
            "installed the SDK and its test tools".to_owned()
        } else {
            "installed the SDK".to_owned()
        },
    ))
}

fn make_venv(venv: &Path, log: &Path) -> Result<()> {
    let mut make = Command::new("/usr/bin/python3");
    make.args(["-m", "venv", "--clear"]).arg(venv);
    run_logged(&mut make, log)
        .context("could not make a Python environment; is python3-venv installed?")
}

/// Whether two stamps name the same Python and the same clone: their first two lines.
fn same_base(have: &str, wanted: &str) -> bool {
    !have.is_empty() && have.lines().take(2).eq(wanted.lines().take(2))
}

fn stamp(layout: &Layout, with_tests: bool) -> Result<String> {
    let version = run(Command::new("/usr/bin/python3").arg("--version"))?;
    let project = file_sha256(&layout.repo.join("agents/sdk/pyproject.toml"))?;
    // An editable install points into the clone, so a moved clone needs a new one.
    Ok(format!(
        "{}\n{}\n{project}\ntests {with_tests}\n",
        version.trim(),
        layout.repo.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_kept_when_only_the_requirements_changed() {
        assert!(same_base(
            "Python 3.11\n/clone\na\ntests false\n",
            "Python 3.11\n/clone\nb\ntests true\n"
        ));
    }

    #[test]
    fn an_environment_of_another_python_or_place_or_none_is_made_anew() {
        assert!(!same_base(
            "Python 3.11\n/clone\na\n",
            "Python 3.12\n/clone\na\n"
        ));
        assert!(!same_base(
            "Python 3.11\n/clone\na\n",
            "Python 3.11\n/moved\na\n"
        ));
        assert!(!same_base("", "Python 3.11\n/clone\na\n"));
    }
}
