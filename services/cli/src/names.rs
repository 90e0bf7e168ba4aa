//! Names that are given on a command line: one line, without what a terminal would obey.

/// How long a name may be.
const LONGEST: usize = 200;

/// A name for clap.
pub fn name(text: &str) -> Result<String, String> {
    line(text, LONGEST)
}

/// A text of one line for clap, of at most so many characters.
pub fn line(text: &str, longest: usize) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it must not be empty".to_owned());
    }
    if text.chars().any(is_unprintable) {
        return Err("it must not have a line end or another control character in it".to_owned());
    }
    if text.chars().count() > longest {
        return Err(format!("it must have at most {longest} characters"));
    }
    Ok(text.to_owned())
}

/// An address of e-mail for clap.
pub fn email(text: &str) -> Result<String, String> {
    let text = name(text)?;
    let is_address = text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !is_address || text.contains(char::is_whitespace) {
        return Err("it must be an address as name@example.org".to_owned());
    }
    Ok(text)
}

/// Controls, and the separators of lines and paragraphs.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line() {
        for text in [
            "a\nb",
            "a\rb",
            "\n",
            "",
            " ",
            "a\u{1b}[31m",
            "a\u{85}b",
            "a\u{2028}b",
        ] {
            assert!(name(text).is_err(), "{text:?}");
        }
        assert!(name(&"ü".repeat(201)).is_err());
        for text in ["a", "Ünal's agent no. 7", &"ü".repeat(200)] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn an_address_has_two_ends_and_no_blanks() {
        for text in ["a", "@b", "a@", "a b@c", "a@b\n"] {
            assert!(email(text).is_err(), "{text:?}");
        }
        assert!(email("a@b").is_ok());
    }
}
