//! The rules of LLMux, one by one: a test's name begins with the number of the rule that it holds the host to.
//!
//! Most run twice, over plugins compiled in and over the same plugins loaded.

mod failures;
mod order;
mod panics;
mod post_hooks;
mod pre_hooks;
