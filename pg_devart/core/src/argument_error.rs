//! What is wrong with an argument, with the argument's name apart from the sentence.

use std::borrow::Cow;

use serde_json::json;

/// An argument at fault. Its text is a sentence that begins with the argument's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct ArgumentError {
    /// The argument's name, or the path to a member of it: `usage.input_token`.
    pub field: Cow<'static, str>,
    /// The rest of the sentence: `must not be negative`.
    pub problem: Cow<'static, str>,
}

impl ArgumentError {
    pub fn new(field: impl Into<Cow<'static, str>>, problem: impl Into<Cow<'static, str>>) -> Self {
        ArgumentError {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// For programs, as JSON: `{"field": "<name>"}`. The DETAIL of the error in Postgres.
    pub fn detail(&self) -> String {
        json!({"field": self.field}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_begins_with_the_field_that_the_detail_names() {
        let error = ArgumentError::new("ttl", "must be more than 0");
        assert_eq!(error.to_string(), "ttl must be more than 0");
        assert_eq!(error.detail(), r#"{"field":"ttl"}"#);
    }

    #[test]
    fn a_name_that_a_caller_chose_cannot_break_the_detail() {
        let error = ArgumentError::new(r#"usage.a"b"#.to_owned(), "must be a number");
        assert_eq!(error.detail(), r#"{"field":"usage.a\"b"}"#);
    }
}
