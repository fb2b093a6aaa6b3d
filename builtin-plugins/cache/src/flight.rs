//! Identical misses under way at the same time: one leads, the others wait for its answer.
//!
//! The leader's place is a value in its request's state. Landing hands the answer to those who wait; a place
//! that is dropped without landing (an error, a client that went away, a lost hook) wakes them too, and the
//! first to ask again leads. Nothing here knows time: the plugin bounds the wait.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{entry::Entry, key::Key};

type Landing = Option<Arc<Entry>>;
type Table = Mutex<HashMap<Key, watch::Receiver<Landing>>>;

/// The requests under way that others may wait for.
#[derive(Default)]
pub(crate) struct Flights(Arc<Table>);

/// What a request becomes.
pub(crate) enum Seat {
    /// It goes upstream, for others too.
    Lead(Lead),
    /// Another is under way.
    Wait(Waiter),
}

/// The place of the one that goes upstream.
pub(crate) struct Lead {
    flights: Arc<Table>,
    key: Key,
    landing: watch::Sender<Landing>,
}

/// The place of one that waits.
pub(crate) struct Waiter(watch::Receiver<Landing>);

impl Flights {
    pub(crate) fn join(&self, key: &Key) -> Seat {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = flights.get(key) {
            return Seat::Wait(Waiter(landing.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(*key, receiver);
        Seat::Lead(Lead { flights: Arc::clone(&self.0), key: *key, landing: sender })
    }
}

impl Lead {
    /// Hands the answer to those who wait, and to those who come until the place is given up.
    pub(crate) fn land(&self, entry: Arc<Entry>) {
        self.landing.send_replace(Some(entry));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Before the sender goes, so that whoever is woken by that finds the place free.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Waiter {
    /// The answer; `None` when the leader got nowhere.
    pub(crate) async fn landed(mut self) -> Option<Arc<Entry>> {
        let landing = self.0.wait_for(Option::is_some).await.ok()?;
        landing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::testing::key;

    fn entry() -> Arc<Entry> {
        Arc::new(Entry::from_response("{}".to_owned()))
    }

    fn lead(flights: &Flights) -> Lead {
        match flights.join(&key(1)) {
            Seat::Lead(lead) => lead,
            Seat::Wait(_) => panic!("somebody leads already"),
        }
    }

    fn waiter(flights: &Flights) -> Waiter {
        match flights.join(&key(1)) {
            Seat::Wait(waiter) => waiter,
            Seat::Lead(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn those_who_wait_get_the_leaders_answer() {
        let flights = Flights::default();
        let leader = lead(&flights);
        let waiters = [waiter(&flights), waiter(&flights)];
        assert!(matches!(flights.join(&key(2)), Seat::Lead(_)));
        leader.land(entry());
        for waiter in waiters {
            assert_eq!(waiter.landed().await, Some(entry()));
        }
        assert_eq!(waiter(&flights).landed().await, Some(entry()), "one that comes while it is stored");
        drop(leader);
        lead(&flights);
    }

    #[tokio::test]
    async fn a_leader_that_gets_nowhere_leaves_its_place_to_one_of_them() {
        let flights = Flights::default();
        let leader = lead(&flights);
        let waiting = tokio::spawn(waiter(&flights).landed());
        drop(leader);
        assert_eq!(waiting.await.expect("a waiter"), None);
        let _second = lead(&flights);
        waiter(&flights);
    }
}
