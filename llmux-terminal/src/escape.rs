//! Escapes characters that a terminal interprets, because names and messages may come from strangers.
//!
//! `output` and `error` call it for everything that they print. Deliberately absent: any change of other characters.

use std::fmt::{self, Write};

/// Returns the text with each character that a terminal interprets replaced by its escape (`\u{1b}`).
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a string does not fail.
    let _ = Visible(&mut out).write_str(text);
    out
}

/// A writer of text that replaces each character that a terminal interprets by its escape (`\u{1b}`).
#[derive(Debug)]
pub struct Visible<W>(pub W);

impl<W: Write> Write for Visible<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(&mut self.0, text, is_interpreted, |out, it| write!(out, "{}", it.escape_unicode()))
    }
}

/// Returns the JSON text with each character that a terminal interprets escaped as in JSON; line ends stay. Such
/// characters occur only in strings, so the value stays the same.
pub(crate) fn json_visible(json: &str) -> String {
    let is_interpreted = |it| it != '\n' && is_interpreted(it);
    let mut out = String::with_capacity(json.len());
    // Writing to a string does not fail.
    let _ = escape(&mut out, json, is_interpreted, |out, it| {
        it.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
    });
    out
}

fn escape<W: Write>(
    out: &mut W,
    text: &str,
    is_interpreted: impl Fn(char) -> bool,
    escaped: impl Fn(&mut W, char) -> fmt::Result,
) -> fmt::Result {
    // To the end, even if a byte is found before: that compiles to vector instructions.
    if text.bytes().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~')) {
        return out.write_str(text);
    }
    text.chars().try_for_each(|it| match is_interpreted(it) {
        true => escaped(out, it),
        false => out.write_char(it),
    })
}

/// Returns true for control characters, and for the characters of Unicode that change the direction of text, separate
/// lines or are invisible.
fn is_interpreted(it: char) -> bool {
    it.is_control()
        || matches!(it,
            '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_interprets_are_escaped() {
        assert_eq!(visible("lib\u{1b}[2Jé\n\u{202e}os"), "lib\\u{1b}[2Jé\\u{a}\\u{202e}os");
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let value = serde_json::json!({"a\u{9b}1m": ["\u{1b}[2J\u{7f}", "é\u{202e}\u{61c}", "\u{e0041}\u{1f600}", "\n"]});
        let text = json_visible(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert!(text.contains(r"\u009b1m") && text.contains(r"\udb40\udc41") && text.contains('é'), "{text}");
        assert!(!text.contains(|it| it != '\n' && is_interpreted(it)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }
}
