//! Progress of a command that takes long: one line on standard error, if that is a terminal.
//!
//! Deliberately absent: an estimate of the time that is left.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use crate::output::print_error;

/// Time before the line is shown for the first time.
const DELAY: Duration = Duration::from_millis(500);
/// Time between two changes of the line.
const PERIOD: Duration = Duration::from_millis(100);
/// Width of the bar, in characters.
const WIDTH: usize = 30;

/// A bar on standard error. It appears after half a second, and disappears with this value.
#[derive(Debug)]
pub struct Progress {
    unit: String,
    total: usize,
    is_terminal: bool,
    next: Instant,
    shown: bool,
}

impl Progress {
    /// Returns a bar for this many steps. The unit is their name in the plural. Without a terminal, nothing is shown.
    pub fn new(unit: &str, total: usize) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { unit: unit.to_owned(), total, is_terminal, next: Instant::now() + DELAY, shown: false }
    }

    /// Reports the number of steps that are done.
    pub fn set(&mut self, done: usize) {
        if self.is_terminal
            && let Some(line) = self.line(done, Instant::now())
        {
            print_error(&line);
        }
    }

    /// Returns the line to show at this time, if it is time for one.
    fn line(&mut self, done: usize, now: Instant) -> Option<String> {
        if now < self.next {
            return None;
        }
        (self.next, self.shown) = (now + PERIOD, true);
        let full = (done * WIDTH).checked_div(self.total).unwrap_or(WIDTH).min(WIDTH);
        let (full, empty) = ("#".repeat(full), ".".repeat(WIDTH - full));
        Some(format!("\r[{full}{empty}] {done} of {} {}", self.total, self.unit))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            // Carriage return, and "erase in line".
            print_error("\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_appears_late_and_seldom() {
        let mut progress = Progress::new("splits", 300);
        let begin = progress.next - DELAY;
        let mut line = |done, millis| progress.line(done, begin + Duration::from_millis(millis));
        assert_eq!(line(1, 499), None);
        assert_eq!(line(100, 500).as_deref(), Some("\r[##########....................] 100 of 300 splits"));
        assert_eq!(line(101, 599), None);
        assert_eq!(line(300, 600).as_deref(), Some("\r[##############################] 300 of 300 splits"));
        progress.shown = false;
    }
}
