//! The number of connections that a listener may have: bounded by the descriptors of the process, so that idle clients
//! cannot take those of other clients, of providers, and of the admin listener; and the number that each address has.
//!
//! `commands::serve` raises the limit of descriptors at the start and divides them; `server` counts. Deliberately absent: a
//! default bound for each address, because all clients behind a proxy have the proxy's address.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Connections of the admin listener.
pub(crate) const ADMIN: usize = 64;
/// Descriptors for everything else: libraries, logs, files.
const RESERVE: u64 = 64;
/// Fewest connections of the main listener.
const FEWEST: usize = 16;

/// The connections of a listener, by the address of the peer.
#[derive(Default)]
pub(super) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// The place of one connection. It is free again when this is dropped.
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// Takes a place for a connection of this address; `None` if the address has `max` connections.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, max: Option<NonZeroUsize>) -> Option<Place> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if max.is_some_and(|max| *count >= max.get()) {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

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
    fn an_address_has_a_bounded_number_of_connections_and_others_are_not_concerned() {
        let addresses = Arc::new(Addresses::default());
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let max = NonZeroUsize::new(2);
        let first = addresses.enter(one, max).expect("a place");
        let _second = addresses.enter(one, max).expect("a place");
        assert!(addresses.enter(one, max).is_none(), "a third");
        let _other = addresses.enter(other, max).expect("a place of another address");
        drop(first);
        let again = addresses.enter(one, max).expect("the place of the first");
        let beyond = addresses.enter(one, None).expect("no bound");
        drop((_second, again, beyond));
        assert_eq!(addresses.counts().keys().collect::<Vec<_>>(), [&other], "nothing is kept of an address");
    }

    #[test]
    fn half_of_the_descriptors_are_for_clients_after_the_reserve() {
        for (descriptors, expected) in [(1024, 448), (100, 16), (0, 16), (1_048_576, 524_224)] {
            assert_eq!(connections(descriptors), expected, "{descriptors}");
        }
    }
}
