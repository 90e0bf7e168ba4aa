//! A certificate of 127.0.0.1 and the authority that signed it, made by openssl.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];
const EXTENSIONS: &str = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

/// The files in PEM format.
pub struct Certificate {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Makes the files in `dir`, for everybody to read.
    pub fn make(dir: &Path) -> Result<Self> {
        std::fs::write(dir.join("extensions"), EXTENSIONS)?;
        let request = [
            "req",
            "-x509",
            "-subj",
            "/CN=authority of the tests",
            "-days",
            "2",
        ];
        openssl(
            dir,
            &[
                &request[..],
                &KEY,
                &["-keyout", "authority.key", "-out", "authority.pem"],
            ]
            .concat(),
        )?;
        let request = ["req", "-subj", "/CN=broker of the tests"];
        openssl(
            dir,
            &[
                &request[..],
                &KEY,
                &["-keyout", "broker.key", "-out", "broker.csr"],
            ]
            .concat(),
        )?;
        openssl(
            dir,
            &[
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                "broker.csr",
                "-CA",
                "authority.pem",
                "-CAkey",
                "authority.key",
                "-CAcreateserial",
                "-extfile",
                "extensions",
                "-out",
                "broker.pem",
            ],
        )?;
        let key = dir.join("broker.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
        Ok(Self {
            authority: dir.join("authority.pem"),
            certificate: dir.join("broker.pem"),
            key,
        })
    }
}

fn openssl(dir: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .current_dir(dir)
        .args(arguments)
        .output()
        .context("running openssl")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {arguments:?}: {text}");
    Ok(())
}
