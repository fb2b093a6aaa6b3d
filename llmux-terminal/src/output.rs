//! Output of commands: text, tables and JSON on standard output, and errors on standard error. Terminals get colors; pipes
//! get plain text. Everything that a command prints goes through here, because the macros of std panic if the output is
//! closed or full.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use crate::{
    error::{CliError, Result},
    escape::{json_visible, visible},
};

/// Longest text in a row of many columns, in characters.
const MAX_SHORT: usize = 120;

/// Prints text as it is.
///
/// # Errors
///
/// If standard output cannot be written to, also if it is a pipe whose reader has ended (`| head`).
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| CliError::new(format!("cannot write to standard output: {error}")))
}

/// Prints text to standard error as it is. If that fails, there is no other place to report it.
pub fn print_error(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints a value as JSON, with the characters that a terminal interprets escaped as in JSON.
///
/// # Errors
///
/// As [`print`], and if the value cannot be written as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(format!("cannot write JSON: {error}")))?;
    print(&(json_visible(&text) + "\n"))
}

/// Returns true if the stream is a terminal and the environment variable `NO_COLOR` is not set
/// (<https://no-color.org>).
pub fn colors(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Meaning of a text, which decides its color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tone {
    /// No color.
    Plain,
    /// Green.
    Good,
    /// Gray.
    Muted,
    /// Red.
    Bad,
}

/// Returns the text in the color of its tone, or as it is if `colors` is false.
pub fn paint(text: &str, tone: Tone, colors: bool) -> String {
    let color = match tone {
        Tone::Plain => return text.to_owned(),
        _ if !colors => return text.to_owned(),
        Tone::Good => 32,
        Tone::Muted => 90,
        Tone::Bad => 31,
    };
    format!("\u{1b}[{color}m{text}\u{1b}[0m")
}

/// Formats nanoseconds in the largest unit of ns, us, ms and s in which the number is at least 1.
pub fn duration(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.1} us", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.1} s", nanos / 1e9),
    }
}

/// Returns the text, or its first 120 characters and `…` if it is longer.
pub fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_SHORT) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Prints rows under a header; an empty header prints none. Each row is one line, whatever its length.
///
/// # Errors
///
/// As [`print`].
pub fn print_table(header: &[&str], rows: Vec<Vec<(String, Tone)>>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // One line a row: `grep` finds it, and a terminal wraps it better than a narrow column does.
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

/// Formats seconds since the Unix epoch as a date and time in UTC (`2000-02-29T00:00:00Z`). (Days to dates: Howard
/// Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.)
pub fn utc_time(seconds: u64) -> String {
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
    fn a_time_is_a_date_in_utc() {
        assert_eq!(utc_time(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc_time(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
