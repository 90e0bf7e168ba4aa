//! JSON that a client gives and others read. It is passed on as the text that came: nothing is built
//! of it, so it cannot take more memory here, and no number or name is changed on the way.

use devart_core::json;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sqlx::types::Json;

/// What a task's agent needs to know, or what came of it.
pub type TaskJson = GivenJson<{ json::MAX_TASK_BYTES }>;

/// What is small by nature.
pub type SmallJson = GivenJson<{ json::MAX_DETAIL_BYTES }>;

/// JSON of at most `MOST` bytes that everybody can read again (docs/decisions/readable-json.md).
#[derive(Debug, Clone)]
pub struct GivenJson<const MOST: usize>(Box<RawValue>);

impl<const MOST: usize> GivenJson<MOST> {
    /// As an argument of a statement.
    pub fn argument(&self) -> Json<&RawValue> {
        Json(&self.0)
    }

    /// An object without members.
    pub fn empty_object() -> Self {
        let text = "{}".to_owned();
        Self(RawValue::from_string(text).expect("an empty object is JSON"))
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for GivenJson<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Box::<RawValue>::deserialize(deserializer)?;
        json::check_text(given.get(), MOST).map_err(D::Error::custom)?;
        Ok(Self(given))
    }
}

impl<const MOST: usize> Serialize for GivenJson<MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A text that must not be lost for a character that cannot be stored, as the error of a task: such
/// a character is made visible instead. U+0000 becomes ␀, half of a surrogate pair �.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorableText(pub String);

impl<'de> Deserialize<'de> for StorableText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Box::<RawValue>::deserialize(deserializer)?;
        let text = json::storable_text(given.get());
        text.map(Self)
            .ok_or_else(|| D::Error::custom("invalid type: expected a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<String, String> {
        serde_json::from_str::<SmallJson>(text)
            .map(|json| json.0.get().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn json_is_passed_on_as_it_came() {
        for text in [r#"{"a": 1.50, "a": 2e1}"#, "null", r#""\ud83d\ude00""#] {
            assert_eq!(given(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_nobody_could_read_is_refused_by_the_reason() {
        for (text, reason) in [
            ("[".repeat(200) + &"]".repeat(200), "nested deeper"),
            ("1e131071".to_owned(), "400 characters"),
            (format!("[{}]", ["1e300"; 60].join(",")), "16 KiB"),
            (
                r#"{"$serde_json::private::Number": "5"}"#.to_owned(),
                "$serde_json",
            ),
            (r#""\u0000""#.to_owned(), "U+0000"),
            (r#""\udc00""#.to_owned(), "surrogate"),
        ] {
            let refused = given(&text).expect_err("it is refused");
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn a_text_is_made_storable() {
        let text: StorableText = serde_json::from_str(r#""a\u0000\ud800""#).expect("a text");
        assert_eq!(text.0, "a\u{2400}\u{FFFD}");
        assert!(serde_json::from_str::<StorableText>("7").is_err());
    }
}
