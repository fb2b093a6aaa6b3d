//! What commands print: tables and JSON. Colors are for terminals; a pipe gets plain text.

use std::io::{ErrorKind, IsTerminal, Write};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use crate::problem::{Problem, Result};

/// How many characters of one text a row of many columns shows.
const MAX_SHORT: usize = 120;

/// Prints text, as it is. A reader that has seen enough (`head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Problem::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON. What a terminal would obey is escaped there, too, as JSON itself escapes it.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Problem::new(format!("cannot write JSON: {error}")))?;
    print(&(json_visible(&text) + "\n"))
}

/// Is this stream for a person who wants colors? See <https://no-color.org>.
pub(crate) fn colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How a cell is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Muted,
    Bad,
}

/// Text in the color of its tone, or as it is.
pub(crate) fn paint(text: &str, tone: Tone, colors: bool) -> String {
    let color = match tone {
        Tone::Plain => return text.to_owned(),
        _ if !colors => return text.to_owned(),
        Tone::Good => 32,
        Tone::Muted => 90,
        Tone::Bad => 31,
    };
    format!("\u{1b}[{color}m{text}\u{1b}[0m")
}

/// How long something took, in the unit that fits.
pub(crate) fn duration(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.1} us", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.1} s", nanos / 1e9),
    }
}

/// Text as it is but for characters that mean something to a terminal: names and messages may be a stranger's.
pub(crate) fn visible(text: &str) -> String {
    escaped(text, is_obeyed, |text, it| text.extend(it.escape_unicode()))
}

/// JSON in which nothing means anything to a terminal but its own line ends. Outside of strings it has none of it.
fn json_visible(json: &str) -> String {
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

/// Text of a stranger's that has to share a line with others: its beginning, where it is long.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_SHORT) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Prints rows under a header, or without one.
pub(crate) fn print_table(header: &[&str], rows: Vec<Vec<(String, Tone)>>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A row is a line, whatever its length: `grep` finds it, and a terminal wraps it better than a narrow column does.
    table.set_content_arrangement(ContentArrangement::Disabled);
    match colors(&std::io::stdout()) {
        true => {
            table.style_text_only();
            table.enforce_styling()
        }
        false => table.force_no_tty(),
    };
    if !header.is_empty() {
        table.set_header(header.iter().map(|title| Cell::new(title).fg(Color::DarkGrey)));
    }
    for row in rows {
        table.add_row(row.into_iter().map(|(text, tone)| (Cell::new(visible(&text)), tone)).map(
            |(cell, tone)| match tone {
                Tone::Plain => cell,
                Tone::Good => cell.fg(Color::Green),
                Tone::Muted => cell.fg(Color::DarkGrey),
                Tone::Bad => cell.fg(Color::Red),
            },
        ));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    print(&text)
}

/// A time in seconds since the Unix epoch, in UTC, to the second. (Days to dates: Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`.)
pub(crate) fn time(seconds: u64) -> String {
    let (days, second) = (seconds / 86400, seconds % 86400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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

    #[test]
    fn a_time_is_a_date_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
