//! Settings that operators may change while devart runs.

use serde_json::Value;
use sqlx::PgConnection;

use crate::http::page::Limit;
use crate::model::setting::Setting;

const LIST: &str = "
    select key, value, description, schema, updated_by, updated_at
    from devart.system_settings
    where key > $1
    order by key
    limit $2";

const GET: &str = "
    select key, value, description, schema, updated_by, updated_at
    from devart.system_settings
    where key = $1";

const SET: &str = "
    select key, value, description, schema, updated_by, updated_at
    from devart.set_setting($1, $2)";

/// The settings the caller may see, by key.
pub async fn list(
    db: &mut PgConnection,
    after: Option<&str>,
    limit: Limit,
) -> sqlx::Result<Vec<Setting>> {
    sqlx::query_as(LIST)
        .bind(after.unwrap_or_default())
        .bind(limit.rows())
        .fetch_all(db)
        .await
}

/// One setting.
pub async fn get(db: &mut PgConnection, key: &str) -> sqlx::Result<Setting> {
    sqlx::query_as(GET).bind(key).fetch_one(db).await
}

/// Changes a setting; the database checks the value against the setting's schema.
pub async fn set(db: &mut PgConnection, key: &str, value: &Value) -> sqlx::Result<Setting> {
    sqlx::query_as(SET)
        .bind(key)
        .bind(value)
        .fetch_one(db)
        .await
}
