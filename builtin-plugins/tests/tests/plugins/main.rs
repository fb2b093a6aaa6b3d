//! The four built-in plugins, end to end: each claim for plain requests and streams, compiled in, loaded, and
//! where it can be seen over HTTP, in a real `llmux` with all four loaded.
//!
//! Within this process time is held and advanced, except where a real Redis keeps its own.

/// Runs each claim in every way: the first ones in six, those that hold time or look inside in four.
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

/// The same for claims about both kinds of request at once: three ways, and two.
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
