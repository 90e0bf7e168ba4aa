//! Where programs that we built ourselves go, so that the servers' users can run them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::layout::{OUTSIDE, cache_dir};
use crate::run_as::ServerUser;

/// The cache, or where the server's user can go when the cache is closed to it.
pub fn directory() -> Result<PathBuf> {
    let cache = cache_dir()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    let is_open = ServerUser::for_server("postgres").is_ok_and(|user| user.can_enter(&cache));
    Ok(if is_open { cache } else { OUTSIDE.into() })
}
