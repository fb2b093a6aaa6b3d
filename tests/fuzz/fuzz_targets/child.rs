//! The frames of a child process: whatever it sends, the host does not panic, a body stays JSON within its limit, and a report
//! stays as it was.
//!
//! The first byte of the input selects the size of the parts. The corpus begins with frames that the crate itself writes.

#![no_main]

use std::{fs, path::Path};

use libfuzzer_sys::fuzz_target;
use llmux_core::isolation::fuzzing;

fuzz_target!(init: {
    // Before the corpus is read.
    let corpus = Path::new("corpus/child");
    fs::create_dir_all(corpus).expect("the folder");
    for (at, seed) in fuzzing::seeds().iter().enumerate() {
        fs::write(corpus.join(format!("seed-{at}")), seed).expect("a seed");
    }
}, |bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    fuzzing::receive(bytes, usize::from(*size) + 1);
});
