//! The number of connections that a listener may have: bounded by the descriptors of the process, so that idle clients
//! cannot take those of other clients, of providers, and of the admin listener.
//!
//! `commands::serve` raises the limit of descriptors at the start and divides them. Deliberately absent: bounds for each
//! address, which a proxy in front of the program would share.

/// Connections of the admin listener.
pub(crate) const ADMIN: usize = 64;
/// Descriptors for everything else: libraries, logs, files.
const RESERVE: u64 = 64;
/// Fewest connections of the main listener.
const FEWEST: usize = 16;

/// Raises the limit of descriptors as far as the system allows, and returns the number of connections of the main listener.
/// Each of them may need a second descriptor, for a provider.
pub(crate) fn main_listener() -> usize {
    limit().map_or(usize::MAX >> 4, connections)
}

fn connections(descriptors: u64) -> usize {
    let free = descriptors.saturating_sub(RESERVE + ADMIN as u64);
    usize::try_from(free / 2).unwrap_or(usize::MAX).clamp(FEWEST, usize::MAX >> 4)
}

/// Raises the soft limit to the hard one, and returns it; `None` for no limit.
#[cfg(unix)]
fn limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => limit = getrlimit(Resource::Nofile),
            Err(error) => tracing::warn!("cannot raise the limit of file descriptors: {error}"),
        }
    }
    limit.current
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_are_for_clients_after_the_reserve() {
        for (descriptors, expected) in [(1024, 448), (100, 16), (0, 16), (1_048_576, 524_224)] {
            assert_eq!(connections(descriptors), expected, "{descriptors}");
        }
    }
}
