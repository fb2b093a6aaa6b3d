//! The last output of a child process, and its end in words.
//!
//! `host::process` uses it, and the trial load of `plugins::library`.

use std::process::ExitStatus;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Kept bytes of an output: the last ones.
const MAX_OUTPUT: usize = 16 * 1024;
/// Number of lines of a text. A panic that aborts writes five.
const LINES: usize = 6;
/// Longest text of the last lines, in bytes.
const MAX_LINES: usize = 1000;

/// Reads an output to its end, and returns the last part of it.
pub(crate) async fn read_last(mut output: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        kept.extend_from_slice(&piece[..length]);
        kept.drain(..kept.len().saturating_sub(MAX_OUTPUT));
    }
    kept
}

/// Returns the last lines of an output as one, without control characters. The frames of a backtrace are left out: they
/// stand behind the message of a panic.
pub(crate) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_frame(line)).collect();
    let lines = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    let mut lines: String = lines.chars().filter(|character| !character.is_control()).collect();
    lines.truncate(lines.floor_char_boundary(MAX_LINES));
    lines
}

/// Returns true for a line of a backtrace.
fn is_frame(line: &str) -> bool {
    let numbered =
        line.split_once(": ").is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    numbered
        || line == "stack backtrace:"
        || (line.starts_with("at ") && line.ends_with(|end: char| end.is_ascii_digit()))
}

/// Returns the end of a process in words.
pub(crate) fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = crate::boundary::process_state::signal_name(signal);
        return format!("was ended by the signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("ended with the exit code {code}"),
        None => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn i3_the_last_lines_of_a_flood_are_kept() {
        let mut flood = b"first line\n".repeat(100_000);
        flood.extend_from_slice(b"\n one\x1b[31m \ntwo\nthree \n\n");
        let kept = read_last(&flood[..]).await;
        assert_eq!(kept.len(), MAX_OUTPUT);
        assert_eq!(last_lines(&kept), "first line | first line | first line | one[31m | two | three");
        assert_eq!(last_lines(&[b'x'; MAX_OUTPUT]).len(), MAX_LINES);
        let panic = "thread panicked:\na reason\nstack backtrace:\n   0: 0x7f - f\n   at ./a.rs:1:2\n  12: g\naborting\n";
        assert_eq!(last_lines(panic.as_bytes()), "thread panicked: | a reason | aborting");
    }
}
