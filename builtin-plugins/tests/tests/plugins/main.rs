//! The four built-in plugins, end to end: each claim for plain requests and streams, compiled in, loaded, and, where
//! HTTP shows it, in a real `llmux` with all four loaded.
//!
//! In this process the tests pause and advance time, except in tests with a real Redis, which has its own clock.

/// Runs each claim in every way: claims of the first list in six ways, claims that pause time or look inside the
/// process in four ways.
macro_rules! in_every_way {
    (anywhere: $($any:ident)*; in_this_process: $($here:ident)*) => {
        in_every_way! { @way compiled_plain (start_paused = true) Compiled false $($any)* $($here)* }
        in_every_way! { @way compiled_stream (start_paused = true) Compiled true $($any)* $($here)* }
        in_every_way! { @way loaded_plain (start_paused = true) Loaded false $($any)* $($here)* }
        in_every_way! { @way loaded_stream (start_paused = true) Loaded true $($any)* $($here)* }
        in_every_way! { @way process_plain () Process false $($any)* }
        in_every_way! { @way process_stream () Process true $($any)* }
    };
    (@way $way:ident $time:tt $kind:ident $stream:literal $($claim:ident)*) => {
        mod $way {
            $(
                #[tokio::test $time]
                async fn $claim() {
                    use llmux_builtin_tests::{Kind, Way};
                    super::$claim(Way { kind: Kind::$kind, stream: $stream }).await;
                }
            )*
        }
    };
}

/// Runs each claim about plain requests and streams together: claims of the first list for three kinds of plugin,
/// claims that need this process for two.
macro_rules! in_every_kind {
    (anywhere: $($any:ident)*; in_this_process: $($here:ident)*) => {
        in_every_kind! { @kind compiled (start_paused = true) Compiled $($any)* $($here)* }
        in_every_kind! { @kind loaded (start_paused = true) Loaded $($any)* $($here)* }
        in_every_kind! { @kind process () Process $($any)* }
    };
    // Where a real server keeps the time.
    (in_real_time: $($claim:ident)*) => {
        in_every_kind! { @kind compiled () Compiled $($claim)* }
        in_every_kind! { @kind loaded () Loaded $($claim)* }
        in_every_kind! { @kind process () Process $($claim)* }
    };
    (@kind $name:ident $time:tt $kind:ident $($claim:ident)*) => {
        mod $name {
            $(
                #[tokio::test $time]
                async fn $claim() {
                    super::$claim(llmux_builtin_tests::Kind::$kind).await;
                }
            )*
        }
    };
}

mod cache;
mod cache_key;
mod coalesce;
mod endpoints;
mod interplay;
mod logging;
mod metrics;
mod neighbors;
mod options;
mod rate_limit;
mod redis;
mod redis_servers;
