//! Chunks that a child has received before their turn, because they were ready behind another chunk of their stream.
//!
//! `hooks` announces them together, and takes each reply when the turn of its chunk comes. The child runs the call of such a
//! chunk only if the call before it let its chunk go on and set nothing. Otherwise its reply is empty, and the call is sent
//! again. Deliberately absent: the end of the calls whose turn does not come, which `hooks` cancels.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{pipeline::body::Chunk, provider::Event};

/// The chunks of one child, by the number of the state of their request.
#[derive(Default)]
pub(super) struct Announced {
    streams: Mutex<HashMap<u64, VecDeque<Sent>>>,
}

/// A chunk that was sent.
pub(super) struct Sent {
    /// Held, so that no other chunk has its address.
    pub(super) event: Event,
    pub(super) number: u64,
    pub(super) reply: oneshot::Receiver<Bytes>,
    /// Time that the hook may take.
    pub(super) limit: Duration,
}

impl Sent {
    /// Returns the reply if it is there.
    pub(super) fn arrived(&mut self) -> Option<Bytes> {
        if self.reply.is_empty() { None } else { self.reply.try_recv().ok() }
    }

    fn is_of(&self, chunk: &Chunk) -> bool {
        let Event { name, data } = &self.event;
        let (now, text) = (&chunk.event, chunk.body.bytes());
        let is_same_name = match (name, now) {
            (Some(name), Some(now)) => Arc::ptr_eq(name, now),
            (name, now) => name.is_none() && now.is_none(),
        };
        is_same_name && (data.as_ptr(), data.len()) == (text.as_ptr(), text.len())
    }
}

impl Announced {
    /// Keeps the chunks that were sent for a request, in their order.
    pub(super) fn put(&self, state: u64, sent: VecDeque<Sent>) {
        if !sent.is_empty() {
            self.streams().insert(state, sent);
        }
    }

    /// Takes the next chunk of a request.
    ///
    /// # Errors
    ///
    /// The chunks whose turn does not come, if the next one is not this one.
    pub(super) fn take(&self, state: u64, chunk: Option<&Chunk>) -> Result<Option<Sent>, VecDeque<Sent>> {
        let mut streams = self.streams();
        let Some(stream) = streams.get_mut(&state) else { return Ok(None) };
        let next = stream.pop_front_if(|sent| chunk.is_some_and(|chunk| sent.is_of(chunk)));
        let rest = if next.is_none() || stream.is_empty() { streams.remove(&state) } else { None };
        match next {
            Some(next) => Ok(Some(next)),
            None => Err(rest.unwrap_or_default()),
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, VecDeque<Sent>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_a_chunk_is_taken_in_its_turn_and_no_other_is() {
        let event = |text: &str| Event { name: Some("n".into()), data: text.to_owned().into() };
        let events = [event("a"), event("b"), event("b")];
        let announced = Announced::default();
        let sent = |number: usize| Sent {
            event: events[number].clone(),
            number: number as u64,
            reply: oneshot::channel().1,
            limit: Duration::ZERO,
        };
        let take = |state, event: &Event| {
            let taken = announced.take(state, Some(&Chunk::new(event.clone(), 10)));
            taken.map(|sent| sent.map(|sent| sent.number)).map_err(|rest| rest.len())
        };
        announced.put(1, (0..3).map(sent).collect());
        assert_eq!(take(2, &events[0]), Ok(None), "another request");
        assert_eq!(take(1, &events[0]), Ok(Some(0)));
        assert_eq!(take(1, &events[2]), Err(2), "the same text is another chunk");
        assert_eq!(take(1, &events[1]), Ok(None), "the others are gone");
        announced.put(1, (0..2).map(sent).collect());
        let renamed = Event { name: None, ..events[0].clone() };
        assert_eq!(take(1, &renamed), Err(2));
        announced.put(1, (0..1).map(sent).collect());
        assert_eq!(take(1, &events[0]), Ok(Some(0)));
        announced.put(1, (0..1).map(sent).collect());
        assert_eq!(announced.take(1, None).err().map(|rest| rest.len()), Some(1), "another hook");
        assert!(announced.streams().is_empty());
    }
}
