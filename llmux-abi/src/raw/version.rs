//! The version of the contract, apart from the crates' versions.

/// The version of the contract that this crate speaks, as semver.
///
/// A host loads a plugin when its own version satisfies the caret requirement of the least version that the plugin needs
/// (`abi_min` in the manifest): a host that speaks 1.4 loads plugins that need 1.0 to 1.4; one that speaks 0.2 loads only
/// those of 0.2.
pub const ABI_VERSION: &str = "0.2.2";

/// The first version that is compatible with [`ABI_VERSION`]: the one that a plugin needs if it has no later hook.
pub const ABI_FIRST: &str = "0.2.0";

/// The target that this crate, and so the host or plugin that holds it, is built for.
pub const TARGET: &str = env!("LLMUX_TARGET");
