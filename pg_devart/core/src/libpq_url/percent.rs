//! Percent-encoding, as libpq reads it.

use std::fmt::Write;

use super::LibpqUrlError;

/// Appends the text to the URL.
pub(super) fn encode(text: &str, url: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// Percent-decodes `text`, which is the part of the URL that `what` names.
pub(super) fn decode(what: &str, text: &str) -> Result<String, LibpqUrlError> {
    let wrong = || LibpqUrlError::Encoding(what.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let code = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        match code.and_then(|code| u8::try_from(code).ok()) {
            None | Some(0) => return Err(wrong()),
            Some(code) => bytes.push(code),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}
