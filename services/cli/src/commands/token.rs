//! `devart token`: a JWT for trying things out.

use std::time::Duration;

use anyhow::Result;
use sqlx::Connection;

use crate::installation::Installation;
use crate::layout::Layout;
use crate::people::{self, Role};

/// How long a token may be valid: a leap year.
pub const MOST_HOURS: i64 = 366 * 24;

/// Makes the role's own account unless it is there; gives a token for it.
pub async fn make(layout: &Layout, role: Role, hours: u32) -> Result<String> {
    let installation = Installation::open(layout)?;
    let secret = installation.get("SUPABASE_JWT_SECRET")?;
    let email = role.account();
    let mut connection = installation.connect().await?;
    let user = people::put(&mut connection, &email, None, role).await?;
    connection.close().await?;
    people::token(
        secret,
        user,
        &email,
        Duration::from_secs(u64::from(hours) * 3600),
    )
}
