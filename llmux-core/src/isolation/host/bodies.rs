//! The parts of requests that a child has from earlier calls: large bodies in memory that the host writes and the child reads,
//! and headers.
//!
//! A body is written once for each request, and later hooks of the request name the same part. `hooks` places the bodies of
//! calls; `connection` keeps their parts until the child has replied. The child keeps the headers of a request itself.
//! Deliberately absent: small bodies, and bodies for which there is no room, which are parts of the call's message.

use std::{
    collections::HashMap,
    os::fd::AsRawFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    boundary::host_memory::HostMemory, isolation::lend::KnownHeaders, pipeline::context::RequestContext,
};

/// Size of a part, and of the largest body in one, in bytes.
const PART: usize = 512 * 1024;
/// Number of parts. The memory of a part is used once a body was there.
const PARTS: usize = 16;
/// Least size of a body in the memory, in bytes. A smaller one is copied faster.
const LARGE: usize = 16 * 1024;
/// Number of bodies of one request.
const MAX_BODIES: usize = 4;

/// The bodies of one child.
#[derive(Default)]
pub(super) struct Bodies {
    memory: Option<Arc<Memory>>,
    /// The bodies of each request, by the number of its state.
    requests: Mutex<HashMap<u64, Request>>,
}

struct Memory {
    memory: HostMemory,
    /// The parts that hold no body, the last used one last.
    free: Mutex<Vec<usize>>,
}

impl Memory {
    fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.memory.file.as_raw_fd()).into()
    }
}

struct Request {
    bodies: Vec<Arc<Placed>>,
    /// The headers that the child keeps.
    headers: Option<Headers>,
    /// True if the child keeps a state of the request, too. It may, until it has replied.
    has_state: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self { bodies: Vec::new(), headers: None, has_state: true }
    }
}

/// The headers of a request, and of the provider's answer to it.
pub(super) struct Headers {
    request: Arc<HeaderMap>,
    provider: Option<Arc<HeaderMap>>,
}

impl Headers {
    pub(super) fn of(context: &RequestContext) -> Self {
        Self { request: context.headers.clone(), provider: context.provider_headers.clone() }
    }
}

/// A body in the memory. The part is free once this is dropped.
pub(super) struct Placed {
    memory: Arc<Memory>,
    part: usize,
    /// Held, so that no other body has this address.
    body: Bytes,
}

impl Placed {
    /// Returns the first byte of the body in the memory.
    pub(super) fn start(&self) -> usize {
        self.part * PART
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        lock(&self.memory.free).push(self.part);
    }
}

impl Bodies {
    /// Makes the memory of a child. Without it, bodies are parts of messages.
    pub(super) fn new() -> Self {
        let memory = HostMemory::new(PARTS * PART).ok();
        let memory = memory.map(|memory| Memory { memory, free: Mutex::new((0..PARTS).rev().collect()) });
        // Without `/proc`, the child could not open it.
        let memory = memory.filter(|memory| memory.path().exists()).map(Arc::new);
        Self { memory, requests: Mutex::default() }
    }

    /// Returns the path under which the child opens the memory; empty if there is none.
    pub(super) fn path(&self) -> PathBuf {
        self.memory.as_deref().map(Memory::path).unwrap_or_default()
    }

    /// Places a body of a request; `None` if it belongs into the message.
    pub(super) fn place(&self, state: u64, body: &Bytes) -> Option<Arc<Placed>> {
        let memory = self.memory.as_ref()?;
        if !(LARGE..=PART).contains(&body.len()) {
            return None;
        }
        let mut requests = lock(&self.requests);
        let bodies = &mut requests.entry(state).or_default().bodies;
        let is_same =
            |placed: &&Arc<Placed>| placed.body.as_ptr() == body.as_ptr() && placed.body.len() == body.len();
        if let Some(placed) = bodies.iter().find(is_same) {
            return Some(placed.clone());
        }
        let part = lock(&memory.free).pop()?;
        let placed = Arc::new(Placed { memory: memory.clone(), part, body: body.clone() });
        if !memory.memory.write(placed.start(), body) {
            return None;
        }
        if bodies.len() == MAX_BODIES {
            // Plugins edit this request.
            bodies.remove(0);
        }
        bodies.push(placed.clone());
        Some(placed)
    }

    /// Returns the headers of a request that the child has, and has it keep the others if `keeps` is true.
    pub(super) fn known(&self, state: u64, context: &RequestContext, keeps: bool) -> KnownHeaders {
        let known = KnownHeaders { keeps, ..KnownHeaders::default() };
        let requests = lock(&self.requests);
        let Some(there) = requests.get(&state).and_then(|request| request.headers.as_ref()) else {
            return known;
        };
        let provider = there.provider.as_ref().zip(context.provider_headers.as_ref());
        KnownHeaders {
            request: Arc::ptr_eq(&there.request, &context.headers),
            provider: provider.is_some_and(|(there, now)| Arc::ptr_eq(there, now)),
            keeps,
        }
    }

    /// Keeps whether the child keeps a state of a request, and the headers that it keeps. Returns true if the request must be
    /// released.
    pub(super) fn replied(&self, state: u64, has_state: bool, headers: Option<Headers>) -> bool {
        let mut requests = lock(&self.requests);
        if headers.is_some() {
            requests.entry(state).or_default().headers = headers;
        }
        match requests.get_mut(&state) {
            Some(request) => {
                request.has_state = has_state;
                true
            }
            None => has_state,
        }
    }

    /// Releases the bodies of a request. Returns false if the child keeps nothing of it.
    pub(super) fn release(&self, state: u64) -> bool {
        let request = lock(&self.requests).remove(&state);
        request.is_none_or(|request| request.has_state || request.headers.is_some())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn i2_a_body_is_placed_once_for_each_request_and_its_part_is_used_again() {
        let bodies = Bodies::new();
        let body = Bytes::from(vec![b'x'; LARGE]);
        let placed = bodies.place(1, &body).expect("placed");
        let memory = bodies.memory.as_deref().expect("a memory");
        let mut there = vec![0; LARGE];
        memory.memory.file.read_exact_at(&mut there, placed.start() as u64).expect("read");
        assert_eq!(there, body);
        let same = bodies.place(1, &body.clone()).expect("placed");
        assert_eq!(same.start(), placed.start());
        let free = || lock(&memory.free).len();
        assert_eq!(free(), PARTS - 1);
        assert!(bodies.place(2, &body).is_some_and(|other| other.start() != placed.start()));
        assert_eq!(free(), PARTS - 2, "the request holds it");
        assert!(!bodies.replied(3, false, None) && bodies.replied(2, false, None));
        assert!(!bodies.release(2), "the child has no state of it");
        assert!(bodies.release(1), "the child may have a state: it has not replied");
        assert_eq!(free(), PARTS - 1, "a call holds it");
        drop((placed, same));
        assert_eq!(free(), PARTS);
        assert!(bodies.replied(3, true, None) && bodies.release(3));
    }

    #[test]
    fn i2_headers_are_known_once_the_child_has_replied_and_only_while_they_are_the_same() {
        let bodies = Bodies::new();
        let headers =
            || Arc::new(HeaderMap::from_iter([(http::header::HOST, "a".parse().expect("a value"))]));
        let mut context = RequestContext::new(
            crate::Endpoint::ChatCompletions,
            true,
            "m".into(),
            "id".into(),
            None,
            headers(),
            None,
        );
        let known = |context: &RequestContext| {
            let KnownHeaders { request, provider, keeps } = bodies.known(1, context, true);
            assert!(keeps);
            (request, provider)
        };
        assert_eq!(known(&context), (false, false));
        assert!(bodies.replied(1, false, Some(Headers::of(&context))));
        assert_eq!(known(&context), (true, false));
        context.provider_headers = Some(headers());
        assert_eq!(known(&context), (true, false), "the answer has come");
        bodies.replied(1, false, Some(Headers::of(&context)));
        assert_eq!(known(&context), (true, true));
        context.provider_headers = Some(headers());
        assert_eq!(known(&context), (true, false), "another answer");
        assert!(bodies.release(1), "the child keeps headers");
        assert_eq!(known(&context), (false, false));
    }

    #[test]
    fn i2_a_body_without_room_in_the_memory_belongs_into_the_message() {
        let bodies = Bodies::new();
        let body = |size| Bytes::from(vec![b'x'; size]);
        for size in [0, LARGE - 1, PART + 1] {
            assert!(bodies.place(1, &body(size)).is_none(), "{size}");
        }
        let held: Vec<_> = (0..PARTS as u64).map(|state| bodies.place(state, &body(PART))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(bodies.place(100, &body(LARGE)).is_none());
        // A request whose bodies are edited again and again holds only the last ones.
        drop(held);
        for state in 0..PARTS as u64 {
            bodies.release(state);
        }
        for _ in 0..2 * PARTS {
            assert!(bodies.place(1, &body(LARGE)).is_some());
        }
        assert_eq!(lock(&bodies.memory.as_deref().expect("a memory").free).len(), PARTS - MAX_BODIES);
    }

    #[test]
    fn i2_the_memory_cannot_be_resized() {
        let memory = HostMemory::new(PART).expect("a memory");
        assert!(memory.file.set_len(1).is_err() && memory.file.set_len(1 << 30).is_err());
        assert_eq!(memory.file.metadata().expect("its length").len(), PART as u64);
        assert!(
            memory.write(PART - 1, b"x") && !memory.write(PART - 1, b"xx") && !memory.write(usize::MAX, b"x")
        );
    }
}
