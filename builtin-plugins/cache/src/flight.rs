//! Identical misses under way at the same time: one request leads, the others wait for its answer.
//!
//! The state of the leading request holds its [`Lead`]. `Lead::land` passes the answer to the waiting requests. If
//! the lead is dropped without an answer (an error, a client that disconnected, a hook that did not run), the
//! waiting requests are woken too, and the first one that joins again leads. No time limit is applied here: the
//! plugin bounds the wait.
//!
//! The plugin has two tables of flights: the misses that wait for one call (`coalesce`), and the answers that are on their
//! way to the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{entry::Entry, key::Key};

type Landing = Option<Arc<Entry>>;
type Table = Mutex<HashMap<Key, watch::Receiver<Landing>>>;

/// The leading requests under way, by their key.
#[derive(Default)]
pub(crate) struct Flights(Arc<Table>);

/// The role of a request that joins.
pub(crate) enum Seat {
    /// The request is sent upstream; identical requests wait for its answer.
    Lead(Lead),
    /// An identical request is under way.
    Wait(Waiter),
}

/// The lead of a request that is sent upstream. Dropping it ends the flight.
pub(crate) struct Lead {
    flights: Arc<Table>,
    key: Key,
    landing: watch::Sender<Landing>,
}

/// A request's wait for its leader's answer.
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

    /// Returns the lead; `None` if another request has it.
    pub(crate) fn lead(&self, key: &Key) -> Option<Lead> {
        match self.join(key) {
            Seat::Lead(lead) => Some(lead),
            Seat::Wait(_) => None,
        }
    }

    /// Returns the wait for the request that leads, if one does.
    pub(crate) fn underway(&self, key: &Key) -> Option<Waiter> {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.get(key).cloned().map(Waiter)
    }
}

impl Lead {
    /// Passes the answer to the waiting requests, and to those that join before this lead is dropped.
    pub(crate) fn land(&self, entry: Arc<Entry>) {
        self.landing.send_replace(Some(entry));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // The entry is removed before the sender is dropped: a request woken by that drop can become the leader.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Waiter {
    /// Returns the leader's answer, or `None` if the leader ended without one.
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
        Arc::new(Entry::Response("{}".to_owned()))
    }

    fn lead(flights: &Flights) -> Lead {
        match flights.join(&key(1)) {
            Seat::Lead(lead) => lead,
            Seat::Wait(_) => panic!("another request leads already"),
        }
    }

    fn waiter(flights: &Flights) -> Waiter {
        match flights.join(&key(1)) {
            Seat::Wait(waiter) => waiter,
            Seat::Lead(_) => panic!("no request leads"),
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
        assert_eq!(
            waiter(&flights).landed().await,
            Some(entry()),
            "a request that joins while the answer is stored"
        );
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
