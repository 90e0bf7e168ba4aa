//! Keyset paging: a page, and where the next one starts.

use serde::Serialize;
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
    pub fn rows(self) -> i64 {
        self.0 as i64 + 1
    }
}

impl<T> Page<T> {
    /// Makes a page of rows fetched with [`Limit::rows`].
    pub fn new(mut rows: Vec<T>, limit: Limit, cursor: impl Fn(&T) -> String) -> Self {
        let has_more = rows.len() > limit.0;
        rows.truncate(limit.0);
        let next_cursor = if has_more {
            rows.last().map(cursor)
        } else {
            None
        };
        Self {
            items: rows,
            next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extra_row_becomes_a_cursor() {
        let limit = Limit::new(Some(2)).expect("valid");
        let page = Page::new(vec![9, 8, 7], limit, i32::to_string);
        assert_eq!(page.items, [9, 8]);
        assert_eq!(page.next_cursor.as_deref(), Some("8"));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let limit = Limit::new(None).expect("valid");
        let page = Page::new(vec![1], limit, i32::to_string);
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn limits_are_bounded() {
        assert!(Limit::new(Some(0)).is_err());
        assert!(Limit::new(Some(201)).is_err());
        assert_eq!(Limit::new(Some(200)).expect("valid").rows(), 201);
    }
}
