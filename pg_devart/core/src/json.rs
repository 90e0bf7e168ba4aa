//! What JSON must be so that everybody can read it again: every part of devart, every language that
//! agents are written in. It is measured before anything is built from it, as text without
//! exponents, which is what comes out of the database.
//!
//! Two measure: [`check_text`] what comes as text, and the extension
//! (`pg_devart/src/pg/json_tree.rs`) what is a `jsonb` already.

use std::fmt;

/// Levels of arrays and objects within each other. serde_json gives up at 128, and answers put a
/// few of their own around it.
pub const MAX_DEPTH: usize = 64;

/// Characters of a number, written without an exponent. Every double fits, as the longest has 343,
/// and Python reads integers of up to 4,300 digits.
pub const MAX_NUMBER_CHARS: usize = 400;

/// Names that serde_json takes for its own: an object with such a name comes out as a number, or is
/// an error.
pub const RESERVED_NAMES: &str = "$serde_json::private::";

/// Bytes of a task's payload or result.
pub const MAX_TASK_BYTES: usize = 256 * 1024;

/// Bytes of what is only shown or small by nature: what an agent says of itself, usage, a setting.
pub const MAX_DETAIL_BYTES: usize = 16 * 1024;

/// Bytes of anything that is handed to a reader.
pub const MAX_READABLE_BYTES: usize = 1024 * 1024;

/// Why JSON is refused. The text goes on after the name of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonProblem {
    /// Longer as text than so many bytes.
    TooLong(usize),
    TooDeep,
    LongNumber,
    ReservedName,
    /// U+0000, which Postgres cannot store.
    Nul,
    /// One of a pair of surrogates without the other.
    HalfCharacter,
    /// A jsonb whose parts are not where it says.
    Damaged,
}

impl fmt::Display for JsonProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            JsonProblem::TooLong(most) => match most % 1024 {
                0 => write!(formatter, "must not be longer than {} KiB", most / 1024),
                _ => write!(formatter, "must not be longer than {most} bytes"),
            },
            JsonProblem::TooDeep => {
                write!(formatter, "must not be nested deeper than {MAX_DEPTH} levels")
            }
            JsonProblem::LongNumber => write!(
                formatter,
                "must not contain a number of more than {MAX_NUMBER_CHARS} characters, written \
                 without an exponent"
            ),
            JsonProblem::ReservedName => write!(
                formatter,
                "must not contain a name that begins with {RESERVED_NAMES}"
            ),
            JsonProblem::Nul => {
                formatter.write_str("must not contain the character U+0000, which cannot be stored")
            }
            JsonProblem::HalfCharacter => formatter.write_str(
                "must not contain one half of a surrogate pair, which is no character and cannot be \
                 stored",
            ),
            JsonProblem::Damaged => formatter.write_str("must not be damaged"),
        }
    }
}

/// What a value takes as text, added up until there is too much of anything.
#[derive(Debug)]
pub struct Measure {
    most: usize,
    left: usize,
    depth: usize,
}

impl Measure {
    /// Of at most so many bytes.
    pub fn new(most: usize) -> Self {
        Measure {
            most,
            left: most,
            depth: 0,
        }
    }

    /// Some more bytes.
    ///
    /// # Errors
    /// [`JsonProblem::TooLong`].
    pub fn add(&mut self, bytes: usize) -> Result<(), JsonProblem> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or(JsonProblem::TooLong(self.most))?;
        Ok(())
    }

    /// Into an array or object.
    ///
    /// # Errors
    /// [`JsonProblem::TooDeep`].
    pub fn enter(&mut self) -> Result<(), JsonProblem> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(JsonProblem::TooDeep),
            false => Ok(()),
        }
    }

    /// Out of it again.
    pub fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// A number of so many characters.
    ///
    /// # Errors
    /// [`JsonProblem::LongNumber`], [`JsonProblem::TooLong`].
    pub fn number(&mut self, chars: usize) -> Result<(), JsonProblem> {
        match chars > MAX_NUMBER_CHARS {
            true => Err(JsonProblem::LongNumber),
            false => self.add(chars),
        }
    }

    /// A text, as its characters are in memory.
    ///
    /// # Errors
    /// [`JsonProblem::TooLong`].
    pub fn text(&mut self, bytes: &[u8]) -> Result<(), JsonProblem> {
        self.add(2 + bytes.len())?;
        self.add(bytes.iter().map(|byte| escaped_len(*byte) - 1).sum())
    }

    /// A name of an object's member, as its characters are in memory.
    ///
    /// # Errors
    /// [`JsonProblem::ReservedName`], [`JsonProblem::TooLong`].
    pub fn name(&mut self, bytes: &[u8]) -> Result<(), JsonProblem> {
        match bytes.starts_with(RESERVED_NAMES.as_bytes()) {
            true => Err(JsonProblem::ReservedName),
            false => self.text(bytes),
        }
    }
}

/// How many bytes a byte of a text takes within quotes.
fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..=0x1F => 6,
        _ => 1,
    }
}

/// Checks JSON text of at most `most` bytes, of which nothing is built. The text must be
/// well-formed: of what is not, only that nothing here fails is promised.
///
/// # Errors
/// The first [`JsonProblem`].
pub fn check_text(text: &str, most: usize) -> Result<(), JsonProblem> {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
        measure: Measure::new(most),
    };
    while let Some(byte) = scanner.peek() {
        scanner.token(byte)?;
    }
    Ok(())
}

/// The text of a JSON string that was well-formed but for what cannot be stored. That is made
/// visible: U+0000 becomes ␀, half of a surrogate pair �. `None` for what is no string.
pub fn storable_text(json: &str) -> Option<String> {
    let text: String = match serde_json::from_str(json) {
        Ok(text) => text,
        Err(_) => serde_json::from_str(&without_half_characters(json)).ok()?,
    };
    Some(text.replace('\0', "\u{2400}"))
}

/// Reads JSON text from its beginning to its end.
struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    measure: Measure,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What is not read yet.
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self, first: u8) -> Result<(), JsonProblem> {
        match first {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            b'{' | b'[' => {
                self.measure.enter()?;
                self.measure.add(1)?;
            }
            b'}' | b']' => {
                self.measure.leave();
                self.measure.add(1)?;
            }
            // Postgres puts a space behind them.
            b',' | b':' => self.measure.add(2)?,
            b' ' | b'\t' | b'\n' | b'\r' => (),
            _ => self.measure.add(1)?,
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonProblem> {
        let rest = &self.bytes[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        self.at += length;
        self.measure.number(number_chars(&rest[..length]))
    }

    fn string(&mut self) -> Result<(), JsonProblem> {
        self.at += 1;
        let mut begins_with: Vec<u8> = Vec::new();
        let mut length = 2;
        while let Some(byte) = self.peek() {
            self.at += 1;
            let character = match byte {
                b'"' => break,
                b'\\' => self.escape()?,
                byte => {
                    length += escaped_len(byte);
                    remember(&mut begins_with, byte);
                    continue;
                }
            };
            length += match character.is_ascii() {
                true => escaped_len(character as u8),
                false => character.len_utf8(),
            };
            let mut encoded = [0; 4];
            let encoded = character.encode_utf8(&mut encoded).bytes();
            encoded.for_each(|byte| remember(&mut begins_with, byte));
        }
        if begins_with == RESERVED_NAMES.as_bytes() && self.is_name() {
            return Err(JsonProblem::ReservedName);
        }
        self.measure.add(length)
    }

    /// The character of an escape, of which the backslash is read.
    fn escape(&mut self) -> Result<char, JsonProblem> {
        let kind = self.peek().unwrap_or(b'"');
        self.at += 1;
        Ok(match kind {
            b'u' => return self.unicode(),
            b'b' => '\u{8}',
            b'f' => '\u{C}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(other),
        })
    }

    fn unicode(&mut self) -> Result<char, JsonProblem> {
        match self.unit() {
            Some(0) => Err(JsonProblem::Nul),
            Some(high @ 0xD800..0xDC00) => self.pair(high),
            Some(0xDC00..0xE000) => Err(JsonProblem::HalfCharacter),
            Some(unit) => Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
            None => Ok(char::REPLACEMENT_CHARACTER),
        }
    }

    fn pair(&mut self, high: u32) -> Result<char, JsonProblem> {
        if !self.rest().starts_with(b"\\u") {
            return Err(JsonProblem::HalfCharacter);
        }
        self.at += 2;
        let low = self.unit().filter(|unit| (0xDC00..0xE000).contains(unit));
        let low = low.ok_or(JsonProblem::HalfCharacter)?;
        let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        char::from_u32(code).ok_or(JsonProblem::HalfCharacter)
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        hexadecimal(digits)
    }

    /// Whether what was just read names a member.
    fn is_name(&self) -> bool {
        let mut rest = self.rest().iter();
        rest.find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn remember(beginning: &mut Vec<u8>, byte: u8) {
    if beginning.len() < RESERVED_NAMES.len() {
        beginning.push(byte);
    }
}

/// How many characters a number takes without its exponent, as Postgres writes it.
fn number_chars(number: &[u8]) -> usize {
    let (negative, number) = match number {
        [b'-', rest @ ..] => (1, rest),
        rest => (0, rest),
    };
    let at_exponent = number.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (digits, exponent) = match at_exponent {
        Some(at) => (&number[..at], exponent_of(&number[at + 1..])),
        None => (number, 0),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    let first = whole
        .iter()
        .chain(fraction)
        .position(|digit| *digit != b'0');
    let before_point = first.map_or(1, |first| whole.len() as i64 - first as i64 + exponent);
    let behind_point = (fraction.len() as i64 - exponent).max(0);
    let chars = before_point.max(1) + behind_point + i64::from(behind_point > 0);
    negative + usize::try_from(chars).unwrap_or(usize::MAX - 1)
}

/// At most a billion, which is too much by far.
fn exponent_of(text: &[u8]) -> i64 {
    const BILLION: i64 = 1_000_000_000;
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    let value = digits.iter().fold(0_i64, |value, digit| {
        (value * 10 + i64::from(digit.saturating_sub(b'0'))).min(BILLION)
    });
    sign * value
}

/// Puts `\ufffd` in the place of each half of a surrogate pair.
fn without_half_characters(json: &str) -> String {
    let bytes = json.as_bytes();
    let mut mended = String::with_capacity(json.len());
    let mut at = 0;
    while let Some(offset) = json[at..].find('\\') {
        let escape = at + offset;
        mended.push_str(&json[at..escape]);
        let unit = |from: usize| {
            let is_unicode = bytes.get(from..from + 2) == Some(b"\\u");
            hexadecimal(bytes.get(from + 2..from + 6).filter(|_| is_unicode)?)
        };
        let length = match (unit(escape), unit(escape + 6)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
            (Some(0xD800..0xE000), _) => 0,
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        match length {
            0 => mended.push_str("\\ufffd"),
            length => mended.push_str(json.get(escape..escape + length).unwrap_or_default()),
        }
        at = escape + if length == 0 { 6 } else { length };
        if at > json.len() || !json.is_char_boundary(at) {
            return mended;
        }
    }
    mended.push_str(&json[at..]);
    mended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    fn problem(text: &str) -> Option<JsonProblem> {
        check_text(text, 1000).err()
    }

    #[test]
    fn what_everybody_can_read_is_let_through() {
        for text in [
            "null",
            "0",
            "-1.5e-300",
            "1.7976931348623157e308",
            "5e-324",
            r#""\ud83d\ude00 ü \u0001""#,
            r#"{"a": [1, {"b": null}], "$serde_json": 1}"#,
            r#"["$serde_json::private::Number"]"#,
            &nested(MAX_DEPTH),
        ] {
            assert_eq!(problem(text), None, "{text}");
        }
    }

    #[test]
    fn what_somebody_cannot_read_is_named() {
        for (text, expected) in [
            (nested(MAX_DEPTH + 1), JsonProblem::TooDeep),
            (nested(400), JsonProblem::TooDeep),
            ("1e131071".to_owned(), JsonProblem::LongNumber),
            ("[1e-400]".to_owned(), JsonProblem::LongNumber),
            ("1e99999999999999999999".to_owned(), JsonProblem::LongNumber),
            ("9".repeat(401), JsonProblem::LongNumber),
            (
                r#"{"$serde_json::private::Number": "1"}"#.to_owned(),
                JsonProblem::ReservedName,
            ),
            (
                r#"[{"\u0024serde_json::private::RawValue" : "1"}]"#.to_owned(),
                JsonProblem::ReservedName,
            ),
            (r#""a\u0000b""#.to_owned(), JsonProblem::Nul),
            (r#"{"a\u0000": 1}"#.to_owned(), JsonProblem::Nul),
            (r#""\ud83d""#.to_owned(), JsonProblem::HalfCharacter),
            (r#""\ud83d\u0041""#.to_owned(), JsonProblem::HalfCharacter),
            (r#""\ude00\ud83d""#.to_owned(), JsonProblem::HalfCharacter),
            ("x".repeat(1001), JsonProblem::TooLong(1000)),
            (
                format!("[{}]", ["1e300"; 4].join(",")),
                JsonProblem::TooLong(1000),
            ),
        ] {
            assert_eq!(problem(&text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_number_is_as_long_as_postgres_writes_it() {
        for (number, written) in [
            ("0", "0"),
            ("-0.5", "-0.5"),
            ("12.50", "12.50"),
            ("1e3", "1000"),
            ("1.25e1", "12.5"),
            ("1.25e4", "12500"),
            ("1e-3", "0.001"),
            ("-12e-3", "-0.012"),
            ("0.012e2", "1.2"),
            ("0e5", "0"),
            ("0.00", "0.00"),
            ("100E-1", "10.0"),
        ] {
            assert_eq!(number_chars(number.as_bytes()), written.len(), "{number}");
        }
    }

    #[test]
    fn a_text_is_as_long_as_postgres_writes_it() {
        for (text, written) in [
            (
                r#"{"a":1,"b":[true,null]}"#,
                r#"{"a": 1, "b": [true, null]}"#,
            ),
            (r#" "\u0041\/\n\u0001ü\"" "#, r#""A/\n\u0001ü\"""#),
        ] {
            assert_eq!(check_text(text, written.len()), Ok(()), "{text}");
            let shorter = written.len() - 1;
            assert_eq!(
                check_text(text, shorter),
                Err(JsonProblem::TooLong(shorter)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_cut_off_or_no_json_at_all_does_no_harm() {
        let text = r#"{"a\ud83d\ude00": [-1.5e+10, "\u00fc\\"]} ü"#;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            for begin in (0..end).filter(|begin| text.is_char_boundary(*begin)) {
                let _ = check_text(&text[begin..end], 1000);
                let _ = storable_text(&text[begin..end]);
            }
        }
    }

    #[test]
    fn a_text_that_cannot_be_stored_is_made_storable_and_shows_it() {
        for (json, text) in [
            (r#""plain \n ü \ud83d\ude00""#, "plain \n ü 😀"),
            (r#""a\u0000b""#, "a\u{2400}b"),
            (r#""\ud83d""#, "\u{FFFD}"),
            (r#""\\ud83d \ud83d\\""#, "\\ud83d \u{FFFD}\\"),
            (r#""\ude00\ud83d\ud83d\ude00""#, "\u{FFFD}\u{FFFD}😀"),
        ] {
            assert_eq!(storable_text(json).as_deref(), Some(text), "{json}");
        }
        assert_eq!(storable_text("5"), None);
        assert_eq!(storable_text("null"), None);
    }

    #[test]
    fn problems_go_on_after_the_name_of_an_argument() {
        assert_eq!(
            JsonProblem::TooLong(MAX_TASK_BYTES).to_string(),
            "must not be longer than 256 KiB"
        );
        assert_eq!(
            JsonProblem::TooDeep.to_string(),
            "must not be nested deeper than 64 levels"
        );
    }
}
