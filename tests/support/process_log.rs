//! What a program of ours writes, kept so that a test that sees it fail can show the end of it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::Result;
use uuid::Uuid;

/// As much as people read.
const TAIL_BYTES: u64 = 8 * 1024;

/// The logs of what listens now, by port: an answer knows no more of who gave it.
static BY_PORT: Mutex<Option<HashMap<u16, File>>> = Mutex::new(None);

/// Keeps what the program at this port writes to its standard output. The file has no name any
/// more when this returns, so that nothing of it stays behind.
pub fn keep(port: u16) -> Result<Stdio> {
    let name = format!("devart-log-{}", Uuid::now_v7().simple());
    let path = std::env::temp_dir().join(name);
    let written = File::create_new(&path)?;
    let read = File::open(&path)?;
    std::fs::remove_file(&path)?;
    let mut logs = BY_PORT.lock().expect("nobody panics while it is locked");
    logs.get_or_insert_default().insert(port, read);
    Ok(written.into())
}

/// Forgets the log of the program at this port.
pub fn forget(port: u16) {
    let mut logs = BY_PORT.lock().expect("nobody panics while it is locked");
    logs.get_or_insert_default().remove(&port);
}

/// The end of the log of the program at this port; empty when nothing is kept of it.
pub fn tail(port: u16) -> String {
    let logs = BY_PORT.lock().expect("nobody panics while it is locked");
    let Some(log) = logs.as_ref().and_then(|logs| logs.get(&port)) else {
        return String::new();
    };
    let length = log.metadata().map_or(0, |file| file.len());
    let from = length.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; (length - from) as usize];
    let read = log.read_at(&mut bytes, from).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}
