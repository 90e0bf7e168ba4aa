//! The enumerated types of the database and those of Rust (pg_devart/core/src/status.rs) are one.

use std::collections::BTreeMap;

use anyhow::Result;
use devart_core::status::SQL_ENUMS;

use crate::support::Database;

/// Labels by type, in the order in which they compare.
const IN_DATABASE: &str = "
    select t.typname::text, array_agg(e.enumlabel::text order by e.enumsortorder)
    from pg_enum e
    join pg_type t on t.oid = e.enumtypid
    where t.typnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
    group by t.typname";

#[tokio::test]
async fn every_type_has_the_same_labels_in_the_same_order_in_rust() -> Result<()> {
    let db = Database::create().await?;
    let in_database: Vec<(String, Vec<String>)> =
        sqlx::query_as(IN_DATABASE).fetch_all(&db.owner).await?;
    let in_database: BTreeMap<String, Vec<String>> = in_database.into_iter().collect();
    let owned = |labels: &&[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
    let in_rust = SQL_ENUMS
        .iter()
        .map(|(name, labels)| ((*name).to_owned(), owned(labels)))
        .collect();
    assert_eq!(in_database, in_rust);
    Ok(())
}
