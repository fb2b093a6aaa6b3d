//! Support for the whole-system tests: fixture plugins as libraries and compiled in, a scripted provider, and
//! a record of the actions of plugins.
//!
//! The tests themselves are in `tests/rules` and `tests/system`. Nothing here is part of LLMux.

pub mod c_libraries;
pub mod contract;
pub mod fixtures;
pub mod native;
pub mod world;

pub use fixtures::Fixtures;
pub use llmux_testing::{Capture, ScriptedProvider, Turn, turn};
pub use world::{Kind, World, scripted};

/// Runs each test three times, with paused time: over plugins compiled in (`compiled::…`), over the same plugins loaded as
/// libraries (`loaded::…`), and over the same libraries in child processes (`isolated::…`).
///
/// ```text
/// kinds! {
///     async fn o1_lowest_first(world: World) { … }
/// }
/// ```
#[macro_export]
macro_rules! kinds {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident: World) $body:block)*) => {
        $(async fn $name($world: $crate::World) $body)*

        mod compiled {
            $($(#[$meta])* #[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name($crate::World::new($crate::Kind::Compiled)).await;
            })*
        }

        mod loaded {
            $($(#[$meta])* #[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name($crate::World::new($crate::Kind::Loaded)).await;
            })*
        }

        mod isolated {
            $($(#[$meta])* #[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name($crate::World::new($crate::Kind::Isolated)).await;
            })*
        }
    };
}

/// Runs tests as [`kinds`] does, except over isolated plugins, for a reason that a rule names.
///
/// ```text
/// in_process! {
///     "an isolated instance takes nothing over (rule I1)" {
///         async fn d4_a_new_instance_takes_over(world: World) { … }
///     }
/// }
/// ```
#[macro_export]
macro_rules! in_process {
    ($($reason:literal { $(async fn $name:ident($world:ident: World) $body:block)* })*) => {
        $($(#[doc = $reason] async fn $name($world: $crate::World) $body)*)*

        mod in_process {
            mod compiled {
                $($(#[tokio::test(start_paused = true)]
                async fn $name() {
                    super::super::$name($crate::World::new($crate::Kind::Compiled)).await;
                })*)*
            }

            mod loaded {
                $($(#[tokio::test(start_paused = true)]
                async fn $name() {
                    super::super::$name($crate::World::new($crate::Kind::Loaded)).await;
                })*)*
            }
        }
    };
}
