//! Counts of bytes for `llmux plugin try`, behind the feature `testing`, until the listing of plugins has them.
//! Everything else for tests is in the crate `llmux-testing`.

mod traffic;

pub use traffic::Traffic;
