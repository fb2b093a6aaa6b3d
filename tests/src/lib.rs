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

/// Runs each test twice, with paused time: over plugins compiled in (`compiled::…`) and over the same plugins
/// loaded as libraries (`loaded::…`). [`isolated`] runs some of them a third time.
///
/// ```text
/// both! {
///     async fn o1_lowest_first(world: World) { … }
/// }
/// ```
#[macro_export]
macro_rules! both {
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
    };
}

/// Runs tests of the same file over isolated plugins (`isolated::…`). Time does not pause there, because the child processes have
/// clocks of their own; tests that wait for long, or that depend on the moment at which a hook answers, are left out.
///
/// ```text
/// isolated! { o1_lowest_first, o1_equal_priorities_in_order }
/// ```
#[macro_export]
macro_rules! isolated {
    ($($name:ident),* $(,)?) => {
        mod isolated {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::World::new($crate::Kind::Isolated)).await;
            })*
        }
    };
}
