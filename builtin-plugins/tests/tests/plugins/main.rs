//! The four built-in plugins, end to end: each claim for plain requests and streams, compiled in and loaded.
//!
//! Time is held and advanced, except where a real Redis keeps its own.

/// Runs each claim in the four ways.
macro_rules! in_every_way {
    ($($claim:ident)*) => {
        in_every_way! { @way compiled_plain Compiled false $($claim)* }
        in_every_way! { @way compiled_stream Compiled true $($claim)* }
        in_every_way! { @way loaded_plain Loaded false $($claim)* }
        in_every_way! { @way loaded_stream Loaded true $($claim)* }
    };
    (@way $way:ident $kind:ident $stream:literal $($claim:ident)*) => {
        mod $way {
            use llmux_builtin_tests::{Kind, Way};
            $(
                #[tokio::test(start_paused = true)]
                async fn $claim() {
                    super::$claim(Way { kind: Kind::$kind, stream: $stream }).await;
                }
            )*
        }
    };
}

/// Runs each claim compiled in and loaded: claims about both kinds of request at once.
macro_rules! in_both_kinds {
    ($($claim:ident)*) => {
        in_both_kinds! { @kind compiled Compiled $($claim)* }
        in_both_kinds! { @kind loaded Loaded $($claim)* }
    };
    (@kind $name:ident $kind:ident $($claim:ident)*) => {
        mod $name {
            use llmux_builtin_tests::Kind;
            $(
                #[tokio::test(start_paused = true)]
                async fn $claim() {
                    super::$claim(Kind::$kind).await;
                }
            )*
        }
    };
}

mod cache;
mod cache_key;
mod coalesce;
mod interplay;
mod logging;
mod metrics;
mod neighbors;
mod prometheus;
mod rate_limit;
mod redis;
