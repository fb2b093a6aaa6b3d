//! Escapes characters that a terminal interprets: names and messages may come from strangers.
//!
//! `output` and `cli_error` call it for everything they print. It does not judge the text otherwise.

/// Text as it is but for characters that mean something to a terminal: names and messages may be a stranger's.
pub(crate) fn visible(text: &str) -> String {
    escaped(text, is_obeyed, |text, it| text.extend(it.escape_unicode()))
}

/// JSON in which nothing means anything to a terminal but its own line ends. Outside of strings it has none of it.
pub(crate) fn json_visible(json: &str) -> String {
    let is_obeyed = |it| it != '\n' && is_obeyed(it);
    escaped(json, is_obeyed, |text, it| {
        it.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
    })
}

fn escaped(text: &str, is_obeyed: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut text, it| {
        match is_obeyed(it) {
            true => escape(&mut text, it),
            false => text.push(it),
        }
        text
    })
}

/// Does a terminal do something else than to show it? Control characters, and what Unicode has to change direction, to
/// separate lines and to be invisible.
fn is_obeyed(it: char) -> bool {
    it.is_control()
        || matches!(it,
            '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(visible("lib\u{1b}[2Jé\n\u{202e}os"), "lib\\u{1b}[2Jé\\u{a}\\u{202e}os");
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let value = serde_json::json!({"a\u{9b}1m": ["\u{1b}[2J\u{7f}", "é\u{202e}\u{61c}", "\u{e0041}\u{1f600}", "\n"]});
        let text = json_visible(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert!(text.contains(r"\u009b1m") && text.contains(r"\udb40\udc41") && text.contains('é'), "{text}");
        assert!(!text.contains(|it| it != '\n' && is_obeyed(it)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }
}
