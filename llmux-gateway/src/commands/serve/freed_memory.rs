//! Freed memory: returns the memory of large bodies to the system after a burst.
//!
//! `serve` starts it. The allocator keeps freed memory for a moment, and looks for such memory when a large block is freed. An
//! idle program frees no large block, and would keep all that a burst took. Deliberately absent: the memory of plugins, which
//! have the system's allocator.

use std::{hint::black_box, time::Duration};

use tokio::time::sleep;

/// Delay between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Size of a block that the allocator counts as large, in bytes. Nothing is written to it, so it costs no memory.
const LARGE: usize = 4 * 1024 * 1024;

/// Starts the task, which ends with the runtime.
pub(super) fn start() {
    tokio::spawn(async {
        loop {
            sleep(EVERY).await;
            drop(black_box(Vec::<u8>::with_capacity(LARGE)));
        }
    });
}
