//! The time in the lines of the log, in UTC with microseconds.
//!
//! `logging` and `plugin_line` use it for each line. Most lines follow another one of the same second on the same thread, so
//! that only the microseconds are new.

use std::{
    cell::RefCell,
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// Length of `2026-11-23T00:37:49`. Years after 9999 are longer.
const SECOND: usize = 19;

thread_local! {
    /// The last second that was written, and its text.
    static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Writes the time as `2026-11-23T00:37:49.030165Z`.
#[derive(Clone, Copy, Default)]
pub(super) struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        LAST.with_borrow_mut(|(second, text)| {
            if *second != now.as_secs() {
                text.clear();
                SystemTime.format_time(&mut Writer::new(text))?;
                // The clock may be in the next second already.
                let is_same = std::time::SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .is_ok_and(|it| it.as_secs() == now.as_secs());
                *second = if is_same { now.as_secs() } else { u64::MAX };
            }
            match text.get(..SECOND) {
                Some(start) if *second == now.as_secs() => {
                    write!(writer, "{start}.{:06}Z", now.subsec_micros())
                }
                _ => writer.write_str(text),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(clock: impl FormatTime) -> String {
        let mut text = String::new();
        clock.format_time(&mut Writer::new(&mut text)).expect("written");
        text
    }

    #[test]
    fn the_time_is_written_as_the_library_writes_it() {
        for _ in 0..1000 {
            let (before, time, after) = (written(SystemTime), written(Clock), written(SystemTime));
            assert!(before <= time && time <= after, "{before} {time} {after}");
            assert_eq!(time.len(), before.len(), "{time}");
        }
    }
}
