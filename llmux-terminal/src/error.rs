//! The error that a command ends with: one line that names the thing and the cause.
//!
//! Every command ends with a [`CliError`] or with nothing. Errors of requests are `llmux_core::Error`.

use std::fmt;

use crate::escape::visible;

/// The error of a command. Displays as one line, in which no character controls a terminal.
#[derive(Debug)]
pub struct CliError(String);

/// The result of a command.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// An error with this message. Line ends in the message become spaces when it is displayed.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The message may quote text of several lines.
        let mut lines = self.0.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
        f.write_str(&visible(lines.next().unwrap_or("something went wrong")))?;
        lines.try_for_each(|line| write!(f, " {}", visible(line)))
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(CliError::new("a\n  b\r\n\nc").to_string(), "a b c");
    }
}
