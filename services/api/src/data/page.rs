//! Keyset paging: one page of a list, and where the next one starts.
//!
//! A page is bounded in rows and in bytes, and each row is written out as it comes: what a list
//! keeps in memory does not depend on what is in the rows.

use std::marker::PhantomData;

use futures::TryStreamExt;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{Encode, FromRow, PgConnection, Postgres, QueryBuilder, Type};
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// A page ends with the row that makes it longer than this.
const MAX_BYTES: usize = 1024 * 1024;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// At most `limit`; fewer where they are large.
    #[schema(value_type = Vec<T>)]
    pub items: Vec<Box<RawValue>>,
    /// Pass it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
    #[serde(skip)]
    #[schema(ignore)]
    rows: PhantomData<T>,
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
    pub fn rows(self) -> i64 {
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
    T: Listed + Serialize + for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut query = after::<T>(query, cursor, limit);
    let mut rows = query.build_query_as::<T>().fetch(db);
    let mut page = Filling::new(limit);
    while let Some(row) = rows.try_next().await? {
        if !page.takes(&row)? {
            break;
        }
    }
    Ok(page.finish())
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

/// A page that rows are still put on.
struct Filling<T: Listed> {
    limit: Limit,
    items: Vec<Box<RawValue>>,
    bytes: usize,
    /// Where the last row on it is.
    last: Option<T::Place>,
    has_more: bool,
}

impl<T: Listed + Serialize> Filling<T> {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            items: Vec::new(),
            bytes: 0,
            last: None,
            has_more: false,
        }
    }

    /// Puts the row on the page; false when it belongs on the next one.
    fn takes(&mut self, row: &T) -> sqlx::Result<bool> {
        self.has_more = self.items.len() == self.limit.0 || self.bytes > MAX_BYTES;
        if self.has_more {
            return Ok(false);
        }
        let item = serde_json::value::to_raw_value(row)
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.bytes += item.get().len();
        self.items.push(item);
        self.last = Some(row.place());
        Ok(true)
    }

    fn finish(self) -> Page<T> {
        let last = self.last.filter(|_| self.has_more);
        Page {
            items: self.items,
            next_cursor: last.map(|place| place.to_string()),
            rows: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row(i64);

    #[derive(Serialize)]
    struct Large(String);

    impl Listed for Large {
        type Place = i64;

        fn place(&self) -> i64 {
            7
        }
    }

    fn page_of<T: Listed + Serialize>(rows: &[T], limit: Limit) -> Page<T> {
        let mut page = Filling::new(limit);
        for row in rows {
            if !page.takes(row).expect("serializable") {
                break;
            }
        }
        page.finish()
    }

    fn texts<T>(page: &Page<T>) -> Vec<&str> {
        page.items.iter().map(|item| item.get()).collect()
    }

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
        let page = page_of(&[Row(9), Row(8), Row(7)], limit(Some(2)));
        assert_eq!(texts(&page), ["9", "8"]);
        assert_eq!(page.next_cursor.as_deref(), Some("8"));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        for rows in [&[][..], &[Row(1)], &[Row(2), Row(1)]] {
            let page = page_of(rows, limit(Some(2)));
            assert_eq!(page.items.len(), rows.len());
            assert_eq!(page.next_cursor, None);
        }
    }

    #[test]
    fn a_page_ends_early_where_its_rows_are_large() {
        let large = || Large("x".repeat(MAX_BYTES));
        let page = page_of(&[large(), large()], limit(None));
        assert_eq!(
            (page.items.len(), page.next_cursor.as_deref()),
            (1, Some("7"))
        );
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
