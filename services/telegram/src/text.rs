//! Text with a little form, as Telegram's MarkdownV2 and as plain text.

use std::fmt;

/// What MarkdownV2 takes for markup unless a backslash is before it. The Bot API lists them under
/// "MarkdownV2 style"; the backslash itself is one, since it would take the character behind it
/// along.
const RESERVED: &str = r"_*[]()~`>#+-=|{}.!\";

/// The same within code.
const RESERVED_IN_CODE: &str = r"`\";

/// Names are cut to this many characters, so that a text is never too long for a message.
const LONGEST_PIECE: usize = 200;

/// A text of pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Bold(String),
    Code(String),
}

impl Text {
    /// Adds words as they are; they may break lines.
    pub fn plain(mut self, words: impl Into<String>) -> Self {
        self.0.push(Piece::Plain(words.into()));
        self
    }

    /// Adds a name, on one line and not too long.
    pub fn bold(mut self, name: &str) -> Self {
        self.0.push(Piece::Bold(tame(name)));
        self
    }

    /// Adds a figure or an id, on one line and not too long.
    pub fn code(mut self, figure: &str) -> Self {
        self.0.push(Piece::Code(tame(figure)));
        self
    }

    /// For `parse_mode` MarkdownV2.
    pub fn markdown(&self) -> String {
        self.0.iter().map(Piece::markdown).collect()
    }
}

impl Piece {
    fn markdown(&self) -> String {
        match self {
            Self::Plain(words) => escape(words, RESERVED),
            // Two marks with nothing between them would mean something else.
            Self::Bold(words) | Self::Code(words) if words.is_empty() => String::new(),
            Self::Bold(words) => format!("*{}*", escape(words, RESERVED)),
            Self::Code(words) => format!("`{}`", escape(words, RESERVED_IN_CODE)),
        }
    }
}

/// The plain text, for logs.
impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            let (Piece::Plain(words) | Piece::Bold(words) | Piece::Code(words)) = piece;
            formatter.write_str(words)?;
        }
        Ok(())
    }
}

/// Puts a backslash before each of the reserved characters.
fn escape(words: &str, reserved: &str) -> String {
    let mut escaped = String::with_capacity(words.len() + 8);
    for character in words.chars() {
        if reserved.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// On one line, without control characters, and cut where it is too long.
fn tame(words: &str) -> String {
    let one_line = words
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    let mut tamed: String = one_line.clone().take(LONGEST_PIECE).collect();
    if one_line.count() > LONGEST_PIECE {
        tamed.pop();
        tamed.push('…');
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reserved_character_is_escaped_in_words_and_in_bold() {
        let all = r"_*[]()~`>#+-=|{}.!\";
        let escaped = r"\_\*\[\]\(\)\~\`\>\#\+\-\=\|\{\}\.\!\\";
        assert_eq!(Text::default().plain(all).markdown(), escaped);
        assert_eq!(Text::default().bold(all).markdown(), format!("*{escaped}*"));
    }

    #[test]
    fn in_code_only_its_mark_and_the_backslash_are_escaped() {
        let text = Text::default().code(r"a_b*`c\d.");
        assert_eq!(text.markdown(), r"`a_b*\`c\\d.`");
    }

    #[test]
    fn other_characters_stay() {
        let text = Text::default().plain("50 % of ü, 🙂\n\"&<,:;/?@'^$");
        assert_eq!(text.markdown(), text.to_string());
    }

    #[test]
    fn names_stay_on_one_line_and_are_cut_where_they_are_too_long() {
        let text = Text::default().bold("a\nb\u{7}c");
        assert_eq!(text.to_string(), "a b c");
        let long = Text::default().bold(&"ü".repeat(201)).to_string();
        assert_eq!(long.chars().count(), LONGEST_PIECE);
        assert!(long.ends_with("ü…"));
        let just = "ü".repeat(200);
        assert_eq!(Text::default().bold(&just).to_string(), just);
    }

    #[test]
    fn nothing_has_no_marks() {
        assert_eq!(Text::default().bold("").code("").markdown(), "");
    }
}
