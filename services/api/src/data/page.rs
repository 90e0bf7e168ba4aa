//! Keyset paging: one page of a list, and where the next one starts.

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{Encode, FromRow, PgConnection, Postgres, QueryBuilder, Type};
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// How many rows a page may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// The asked-for limit, or the default.
    ///
    /// # Errors
    /// 400 naming `limit` when it is not 1 to 200.
    pub fn new(asked: Option<u32>) -> ApiResult<Self> {
        match asked.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(Self(limit as usize)),
            _ => Err(ApiError::malformed("limit must be 1 to 200").with_field("limit")),
        }
    }

    /// Rows to fetch: one more than shown, which tells whether there is a next page.
    fn rows(self) -> i64 {
        self.0 as i64 + 1
    }
}

/// How a list is ordered: by a column whose values are all different.
pub enum Order {
    NewestFirst,
    OldestFirst,
    By(&'static str),
}

impl Order {
    /// Column, how it compares with the cursor, and the direction.
    fn sql(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NewestFirst => ("id", "<", "desc"),
            Self::OldestFirst => ("id", ">", "asc"),
            Self::By(column) => (column, ">", "asc"),
        }
    }
}

/// A row of a list, and its place there.
pub trait Listed {
    /// The type of the column that the list is ordered by.
    type Place: ToString + Type<Postgres> + for<'q> Encode<'q, Postgres> + Send + 'static;

    /// How the list is ordered.
    const ORDER: Order = Order::NewestFirst;

    /// Where the row is; the cursor of a page that ends with it.
    fn place(&self) -> Self::Place;
}

/// The rows of `query`, which ends in a condition, that come after the cursor.
pub async fn page<T>(
    db: &mut PgConnection,
    query: QueryBuilder<Postgres>,
    cursor: Option<T::Place>,
    limit: Limit,
) -> sqlx::Result<Page<T>>
where
    T: Listed + for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let rows = after::<T>(query, cursor, limit)
        .build_query_as()
        .fetch_all(db)
        .await?;
    Ok(Page::new(rows, limit))
}

fn after<T: Listed>(
    mut query: QueryBuilder<Postgres>,
    cursor: Option<T::Place>,
    limit: Limit,
) -> QueryBuilder<Postgres> {
    let (column, comparison, direction) = T::ORDER.sql();
    if let Some(cursor) = cursor {
        query
            .push(format_args!(" and {column} {comparison} "))
            .push_bind(cursor);
    }
    query
        .push(format_args!(" order by {column} {direction} limit "))
        .push_bind(limit.rows());
    query
}

impl<T: Listed> Page<T> {
    /// Makes a page of rows fetched with [`Limit::rows`].
    fn new(mut rows: Vec<T>, limit: Limit) -> Self {
        let has_more = rows.len() > limit.0;
        rows.truncate(limit.0);
        let last = rows.last().filter(|_| has_more);
        Self {
            next_cursor: last.map(|row| row.place().to_string()),
            items: rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Row(i64);

    impl Listed for Row {
        type Place = i64;

        fn place(&self) -> i64 {
            self.0
        }
    }

    struct Named;

    impl Listed for Named {
        type Place = String;
        const ORDER: Order = Order::By("key");

        fn place(&self) -> String {
            "a".to_owned()
        }
    }

    fn limit(asked: Option<u32>) -> Limit {
        Limit::new(asked).expect("valid")
    }

    #[test]
    fn the_extra_row_becomes_a_cursor() {
        let page = Page::new(vec![Row(9), Row(8), Row(7)], limit(Some(2)));
        assert_eq!(page.items, [Row(9), Row(8)]);
        assert_eq!(page.next_cursor.as_deref(), Some("8"));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let page = Page::new(vec![Row(1)], limit(None));
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn limits_are_bounded() {
        assert!(Limit::new(Some(0)).is_err());
        assert!(Limit::new(Some(201)).is_err());
        assert_eq!(limit(Some(200)).rows(), 201);
    }

    #[test]
    fn a_page_goes_on_behind_its_cursor_in_the_lists_own_order() {
        let query = || QueryBuilder::new("select from t where true");
        assert_eq!(
            after::<Row>(query(), Some(8), limit(None)).into_string(),
            "select from t where true and id < $1 order by id desc limit $2"
        );
        assert_eq!(
            after::<Named>(query(), None, limit(None)).into_string(),
            "select from t where true order by key asc limit $1"
        );
    }
}
