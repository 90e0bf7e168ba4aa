//! Telegram's MarkdownV2, as far as devart writes it: bold, code, and everything else escaped.

/// What must be escaped outside of code.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

/// The text without its markup.
///
/// # Errors
/// What Telegram would say about text that it does not take.
pub fn parse(markdown: &str) -> Result<String, String> {
    let mut parser = Parser::default();
    let mut characters = markdown.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            let escaped = characters.next().map_or('\\', |(_, escaped)| escaped);
            parser.text.push(escaped);
        } else {
            parser.take(at, character)?;
        }
    }
    parser.end()
}

#[derive(Default)]
struct Parser {
    text: String,
    bold_since: Option<usize>,
    code_since: Option<usize>,
}

impl Parser {
    fn take(&mut self, at: usize, character: char) -> Result<(), String> {
        match character {
            '`' => toggle(&mut self.code_since, at),
            _ if self.code_since.is_some() => self.text.push(character),
            '*' => toggle(&mut self.bold_since, at),
            _ if RESERVED.contains(character) => {
                return Err(format!(
                    "Bad Request: can't parse entities: Character '{character}' is reserved and must be escaped with the preceding '\\'"
                ));
            }
            _ => self.text.push(character),
        }
        Ok(())
    }

    fn end(self) -> Result<String, String> {
        for (name, since) in [("Code", self.code_since), ("Bold", self.bold_since)] {
            if let Some(at) = since {
                return Err(format!(
                    "Bad Request: can't parse entities: Can't find end of {name} entity at byte offset {at}"
                ));
            }
        }
        Ok(self.text)
    }
}

fn toggle(since: &mut Option<usize>, at: usize) {
    *since = match *since {
        Some(_) => None,
        None => Some(at),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_taken_away() {
        let parsed = parse("*a\\.b* costs `1.00 \\` \\\\`\\!");
        assert_eq!(parsed.as_deref(), Ok("a.b costs 1.00 ` \\!"));
    }

    #[test]
    fn what_is_not_escaped_or_not_closed_is_refused() {
        for reserved in RESERVED.chars().filter(|it| !"*`".contains(*it)) {
            let refused = parse(&format!("a{reserved}b")).expect_err("refused");
            assert!(refused.contains(&format!("'{reserved}'")), "{refused}");
        }
        assert!(
            parse("a *b")
                .expect_err("refused")
                .contains("Bold entity at byte offset 2")
        );
        assert!(parse("a `b*").expect_err("refused").contains("Code entity"));
    }
}
