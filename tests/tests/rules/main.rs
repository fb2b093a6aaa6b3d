//! The rules of LLMux, one by one: a test's name begins with the number of the rule that it checks.
//!
//! Most run three times, with paused time: over plugins compiled in, over the same plugins loaded, and over the same plugins in
//! child processes. `kinds!` and `in_process!` of this crate have the details.

mod any_model;
mod beside;
mod beside_streams;
mod binary;
mod blocking;
mod changes;
mod client;
mod completion;
mod context;
mod early_heads;
mod ends;
mod exclusive;
mod exclusive_files;
mod failover;
mod failures;
mod frozen;
mod host_panics;
mod images;
mod initializers;
mod isolation;
mod libraries;
mod libraries_beside;
mod mapping;
mod moves;
mod native;
mod needs;
mod order;
mod panics;
mod passed_headers;
mod pipeline;
mod post_hooks;
mod pre_hooks;
mod programs;
mod sandboxes;
mod seen;
mod segments;
mod services;
mod stored_responses;
mod streams;
mod texts;
mod tool_calls;
mod trials;
mod under_load;
mod unknown_texts;
mod usage;
mod wholes;
