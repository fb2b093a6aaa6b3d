//! Why the program could not do what it was asked: one line that names the thing and the cause.
//!
//! Every command ends with one of these or with nothing. Errors of requests are `llmux_core::Error`.

use std::fmt;

use super::escape::visible;

/// One line for standard error.
#[derive(Debug)]
pub(crate) struct CliError(String);

/// What a command comes to.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What others wrote into a message may have several lines.
        let mut words = self.0.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
        f.write_str(&visible(words.next().unwrap_or("something went wrong")))?;
        words.try_for_each(|line| write!(f, " {}", visible(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        assert_eq!(CliError::new("a\n  b\r\n\nc").to_string(), "a b c");
    }
}
