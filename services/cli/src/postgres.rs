//! Which PostgreSQL devart builds for and runs, and where its files are.
//!
//! `DEVART_PG` chooses: a major version (Debian's packages) or the path of a `pg_config` (any other
//! installation). Without it: the version that the data directory was made with, else the newest
//! one that Debian installed here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::run_as::{ServerUser, run};

/// The major versions that pg_devart is built for, best first.
pub const SUPPORTED: [u32; 4] = [18, 17, 16, 15];

/// The environment variable that chooses.
pub const VARIABLE: &str = "DEVART_PG";

/// An installation that is wanted. It may not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Debian's packages of a major version.
    Debian(u32),
    /// The installation that a `pg_config` belongs to.
    PgConfig(PathBuf),
}

impl Choice {
    /// What `DEVART_PG` says, if anything.
    pub fn made() -> Result<Option<Self>> {
        match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => Self::parse(&text).map(Some),
            _ => Ok(None),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let Ok(major) = text.parse::<u32>() else {
            let path = PathBuf::from(text);
            ensure!(
                path.is_absolute() && path.is_file(),
                "{VARIABLE}={text} is neither a major version nor the full path of a pg_config"
            );
            return Ok(Self::PgConfig(path));
        };
        require_supported(major).with_context(|| format!("{VARIABLE}={text}"))?;
        Ok(Self::Debian(major))
    }

    /// The version that a data directory was made with, from Debian's packages; none without one.
    pub fn of_data_dir(data: &Path) -> Option<Self> {
        major_of_data_dir(data).map(Self::Debian)
    }

    /// What is to run a data directory: what `DEVART_PG` says if it is of the same version, else
    /// Debian's packages of that version. None when there is neither.
    ///
    /// # Errors
    /// When `DEVART_PG` asks for another version than the data directory has.
    pub fn for_data_dir(data: &Path) -> Result<Option<Self>> {
        let made = Self::made()?;
        if let (Some(made), Some(have)) = (&made, major_of_data_dir(data)) {
            let wanted = made.major()?;
            ensure!(
                wanted == have,
                "{} was made with PostgreSQL {have}, but {VARIABLE} asks for {wanted}: unset it, \
                 or begin with an empty database",
                data.display()
            );
        }
        Ok(made.or_else(|| Self::of_data_dir(data)))
    }

    /// The major version.
    pub fn major(&self) -> Result<u32> {
        match self {
            Self::Debian(major) => Ok(*major),
            Self::PgConfig(path) => Ok(Postgres::of_pg_config(path)?.major),
        }
    }

    /// The installation, which must be there.
    pub fn open(&self) -> Result<Postgres> {
        match self {
            Self::Debian(major) => Postgres::of_debian(*major),
            Self::PgConfig(path) => Postgres::of_pg_config(path),
        }
    }
}

fn major_of_data_dir(data: &Path) -> Option<u32> {
    // In a directory of the server's user, who may have put a link there.
    let user = ServerUser::for_server("postgres").ok()?;
    let text = user.read(&data.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

fn require_supported(major: u32) -> Result<()> {
    if !SUPPORTED.contains(&major) {
        bail!("PostgreSQL {major} is not supported; 15, 16, 17 and 18 are");
    }
    Ok(())
}

/// One installation. Its `pg_config` says where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// The major version.
    pub major: u32,
    pg_config: PathBuf,
    programs: PathBuf,
    libraries: PathBuf,
    shared: PathBuf,
    headers: PathBuf,
}

impl Postgres {
    /// The installation that a `pg_config` belongs to.
    pub fn of_pg_config(pg_config: &Path) -> Result<Self> {
        let said = run(Command::new(pg_config).args([
            "--version",
            "--bindir",
            "--pkglibdir",
            "--sharedir",
            "--includedir-server",
        ]))
        .with_context(|| format!("asking {}", pg_config.display()))?;
        let postgres = Self::parse(pg_config, &said)
            .with_context(|| format!("{} is not a pg_config", pg_config.display()))?;
        require_supported(postgres.major)?;
        Ok(postgres)
    }

    fn parse(pg_config: &Path, said: &str) -> Option<Self> {
        let mut lines = said.lines();
        let major = major_of_version(lines.next()?)?;
        let mut directory = || lines.next().map(PathBuf::from);
        Some(Self {
            major,
            pg_config: pg_config.to_owned(),
            programs: directory()?,
            libraries: directory()?,
            shared: directory()?,
            headers: directory()?,
        })
    }

    fn of_debian(major: u32) -> Result<Self> {
        let pg_config = debian_pg_config(major);
        ensure!(
            pg_config.exists(),
            "PostgreSQL {major} is not installed: apt-get install postgresql-{major}, or name another \
             installation: {VARIABLE}=/path/of/pg_config"
        );
        Self::of_pg_config(&pg_config)
    }

    /// The newest supported version whose server and headers Debian has both installed.
    pub fn newest_installed() -> Option<Self> {
        SUPPORTED
            .into_iter()
            .filter_map(|major| Self::of_debian(major).ok())
            .find(|it| it.has_server() && it.has_headers())
    }

    /// What `DEVART_PG` says, else [`Self::newest_installed`], or a sentence that says how to get
    /// one.
    pub fn require() -> Result<Self> {
        if let Some(choice) = Choice::made()? {
            return choice.open();
        }
        Self::newest_installed().context(
            "no PostgreSQL 15, 16, 17 or 18 with its server headers is installed; \
             run `devart setup`",
        )
    }

    /// Its `pg_config`.
    pub fn pg_config(&self) -> &Path {
        &self.pg_config
    }

    /// Whether it is one of Debian's packages, so that Debian's packages of extensions fit it.
    pub fn is_debian(&self) -> bool {
        self.pg_config == debian_pg_config(self.major)
    }

    /// A program of this version, for instance `initdb`.
    pub fn bin(&self, program: &str) -> PathBuf {
        self.programs.join(program)
    }

    /// Where this version looks for extension libraries.
    pub fn library_dir(&self) -> &Path {
        &self.libraries
    }

    /// Where this version looks for extension control and script files.
    pub fn extension_dir(&self) -> PathBuf {
        self.shared.join("extension")
    }

    /// Whether the server programs are there.
    pub fn has_server(&self) -> bool {
        self.bin("postgres").exists() && self.bin("initdb").exists()
    }

    /// Whether extensions can be built against it.
    pub fn has_headers(&self) -> bool {
        self.headers.join("postgres.h").exists()
    }

    /// Refuses an installation that extensions cannot be built against.
    pub fn require_headers(&self) -> Result<()> {
        ensure!(
            self.has_headers(),
            "PostgreSQL {} has no server headers in {}",
            self.major,
            self.headers.display()
        );
        Ok(())
    }

    /// Whether the library of an extension is installed.
    pub fn has_library(&self, name: &str) -> bool {
        self.libraries.join(format!("{name}.so")).exists()
    }
}

fn debian_pg_config(major: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/pg_config"))
}

/// 15 of `PostgreSQL 15.20 (Debian 15.20-0+deb12u1)`, 18 of `PostgreSQL 18beta1`.
fn major_of_version(version: &str) -> Option<u32> {
    let number = version.strip_prefix("PostgreSQL ")?;
    let digits = number.find(|it: char| !it.is_ascii_digit());
    number[..digits.unwrap_or(number.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_directories_come_from_pg_config() {
        let said = "PostgreSQL 17.5 (Debian 17.5-1)\n/opt/pg/bin\n/opt/pg/lib/postgresql\n\
                    /opt/pg/share\n/opt/pg/include/server\n";
        let postgres = Postgres::parse(Path::new("/opt/pg/bin/pg_config"), said).expect("parsed");
        assert_eq!(postgres.major, 17);
        assert_eq!(postgres.bin("initdb"), Path::new("/opt/pg/bin/initdb"));
        assert_eq!(postgres.library_dir(), Path::new("/opt/pg/lib/postgresql"));
        assert_eq!(
            postgres.extension_dir(),
            Path::new("/opt/pg/share/extension")
        );
        assert_eq!(postgres.headers, Path::new("/opt/pg/include/server"));
    }

    #[test]
    fn a_version_has_a_major_number_also_before_its_release() {
        assert_eq!(major_of_version("PostgreSQL 18beta1"), Some(18));
        assert_eq!(major_of_version("PostgreSQL 16.14"), Some(16));
        assert_eq!(major_of_version("psql"), None);
    }

    #[test]
    fn an_unsupported_version_and_a_wrong_path_are_refused_by_name() {
        let error = |text| format!("{:#}", Choice::parse(text).expect_err("refused"));
        assert!(error("14").contains("PostgreSQL 14 is not supported"));
        assert!(error("/nonesuch/pg_config").contains("/nonesuch/pg_config"));
        assert!(error("bin/pg_config").contains("full path"));
        assert_eq!(Choice::parse("16").expect("parsed"), Choice::Debian(16));
    }

    #[test]
    fn a_data_directory_wants_the_version_that_made_it() {
        let data = std::env::temp_dir().join(format!("devart-{}", crate::random::word(8)));
        std::fs::create_dir(&data).expect("made");
        assert_eq!(Choice::of_data_dir(&data), None);
        std::fs::write(data.join("PG_VERSION"), "16\n").expect("written");
        assert_eq!(Choice::of_data_dir(&data), Some(Choice::Debian(16)));
        std::fs::remove_dir_all(&data).expect("removed");
    }
}
