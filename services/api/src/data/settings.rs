//! Settings that operators may change while devart runs.

use sqlx::{PgConnection, QueryBuilder};

use super::page::{Limit, Listed, Order, Page, page};
use crate::http::json::SmallJson;
use crate::model::setting::{Setting, SettingFilter};

const LIST: &str = "
    select key, devart.readable_json(value) as value, description, schema, updated_by, updated_at
    from devart.system_settings
    where true";

const GET: &str = "
    select key, devart.readable_json(value) as value, description, schema, updated_by, updated_at
    from devart.system_settings
    where key = $1";

const SET: &str = "
    select key, devart.readable_json(value) as value, description, schema, updated_by, updated_at
    from devart.set_setting($1, $2)";

impl Listed for Setting {
    type Place = String;
    const ORDER: Order = Order::By("key");

    fn place(&self) -> String {
        self.key.clone()
    }
}

/// The settings the caller may see, by key.
pub async fn list(
    db: &mut PgConnection,
    filter: SettingFilter,
    limit: Limit,
) -> sqlx::Result<Page<Setting>> {
    page(db, QueryBuilder::new(LIST), filter.cursor, limit).await
}

/// One setting.
pub async fn get(db: &mut PgConnection, key: &str) -> sqlx::Result<Setting> {
    sqlx::query_as(GET).bind(key).fetch_one(db).await
}

/// Changes a setting; the database checks the value against the setting's schema.
pub async fn set(db: &mut PgConnection, key: &str, value: &SmallJson) -> sqlx::Result<Setting> {
    sqlx::query_as(SET)
        .bind(key)
        .bind(value.argument())
        .fetch_one(db)
        .await
}
