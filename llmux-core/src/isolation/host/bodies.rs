//! The parts of requests that a child has from earlier calls: large bodies in memory that the host writes and the child reads,
//! and the context.
//!
//! A body is written once for each request, and later hooks of the request name the same part. `hooks` places the bodies of
//! calls; `connection` keeps their parts until the child has replied. The child keeps the context of a request itself.
//! Deliberately absent: small bodies, and bodies for which there is no room, which are parts of the call's message.

use std::{
    collections::HashMap,
    mem,
    os::fd::AsRawFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    boundary::host_memory::HostMemory,
    isolation::lend::Given,
    pipeline::{context::RequestContext, headers::Headers},
    upstream::Deployment,
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

/// The parts of a request that a child keeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// Some memory.
    Context,
    /// A state of the plugin, whose release is the plugin's code.
    State,
}

struct Request {
    bodies: Vec<Arc<Placed>>,
    /// The context that the child keeps.
    context: Option<KeptContext>,
    /// True while the child may be about to keep another context.
    is_asked: bool,
    /// True if the child keeps a state of the request, too. It may, until it has replied.
    has_state: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self { bodies: Vec::new(), context: None, is_asked: false, has_state: true }
    }
}

/// The parts of a context that change while a request is served.
struct KeptContext {
    headers: Headers,
    provider_headers: Option<Headers>,
    deployment: Option<Arc<Deployment>>,
    model: Arc<str>,
    attempt: u32,
    read_only: bool,
}

impl KeptContext {
    fn of(context: &RequestContext) -> Self {
        Self {
            headers: context.headers.clone(),
            provider_headers: context.provider_headers.clone(),
            deployment: context.deployment.clone(),
            model: context.model.clone(),
            attempt: context.attempt,
            read_only: context.read_only,
        }
    }

    /// Returns the parts of a context that a call must send.
    fn given(&self, context: &RequestContext) -> Given {
        let has_headers = self.headers.is(&context.headers);
        let has_provider_headers = match (&self.provider_headers, &context.provider_headers) {
            (Some(kept), Some(now)) => kept.is(now),
            (kept, now) => kept.is_none() && now.is_none(),
        };
        let is_known = has_headers
            && has_provider_headers
            && is_same(self.deployment.as_ref(), context.deployment.as_ref())
            && self.model == context.model
            && (self.attempt, self.read_only) == (context.attempt, context.read_only);
        if is_known { Given::Nothing } else { Given::Kept { has_headers, has_provider_headers } }
    }
}

fn is_same<T: ?Sized>(kept: Option<&Arc<T>>, now: Option<&Arc<T>>) -> bool {
    match (kept, now) {
        (Some(kept), Some(now)) => Arc::ptr_eq(kept, now),
        (kept, now) => kept.is_none() && now.is_none(),
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

    /// Returns the parts of a request's context that a call sends. The child keeps them.
    pub(super) fn given(&self, state: u64, context: &RequestContext) -> Given {
        let mut requests = lock(&self.requests);
        let request = requests.entry(state).or_default();
        match (mem::replace(&mut request.is_asked, true), &request.context) {
            // Another call of the request is under way, or was cancelled.
            (true, _) => Given::Once,
            (false, None) => Given::Kept { has_headers: false, has_provider_headers: false },
            (false, Some(kept)) => kept.given(context),
        }
    }

    /// Returns true if the child keeps this context, and no call is about to change it.
    pub(super) fn has(&self, state: u64, context: &RequestContext) -> bool {
        let requests = lock(&self.requests);
        let request = requests.get(&state).filter(|request| !request.is_asked);
        let kept = request.and_then(|request| request.context.as_ref());
        kept.is_some_and(|kept| kept.given(context) == Given::Nothing)
    }

    /// Keeps whether the child keeps a state of a request, and the context that it was given. Returns true if the request
    /// must be released.
    pub(super) fn replied(
        &self,
        state: u64,
        has_state: bool,
        (given, context): (Given, &RequestContext),
    ) -> bool {
        let mut requests = lock(&self.requests);
        let Some(request) = requests.get_mut(&state) else { return has_state };
        request.has_state = has_state;
        if given != Given::Once {
            request.is_asked = false;
        }
        if matches!(given, Given::Kept { .. }) {
            request.context = Some(KeptContext::of(context));
        }
        true
    }

    /// Releases the bodies of a request. Returns the rest that the child has to release.
    pub(super) fn release(&self, state: u64) -> Kept {
        match lock(&self.requests).remove(&state) {
            Some(Request { has_state: false, context: None, .. }) => Kept::Nothing,
            Some(Request { has_state: false, .. }) => Kept::Context,
            _ => Kept::State,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use http::HeaderMap;

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
        let once = (Given::Once, &context());
        assert!(!bodies.replied(3, false, once) && bodies.replied(2, false, once));
        assert_eq!(bodies.release(2), Kept::Nothing, "the child has no state of it");
        assert_eq!(bodies.release(1), Kept::State, "the child may have a state: it has not replied");
        assert_eq!(free(), PARTS - 1, "a call holds it");
        drop((placed, same));
        assert_eq!(free(), PARTS);
        assert!(bodies.replied(3, true, once));
        assert_eq!(bodies.release(3), Kept::State);
    }

    fn headers() -> Headers {
        Headers::Map(Arc::new(HeaderMap::from_iter([(http::header::HOST, "a".parse().expect("a value"))])))
    }

    fn context() -> RequestContext {
        let endpoint = crate::Endpoint::ChatCompletions;
        RequestContext::new(endpoint, true, "m".into(), "id".into(), None, headers(), None)
    }

    #[test]
    fn i2_a_context_is_given_once_and_again_after_each_change_of_it() {
        let bodies = Bodies::new();
        let mut context = context();
        // Returns what a call gives, and has it replied to.
        let call = |context: &RequestContext| {
            let given = bodies.given(1, context);
            bodies.replied(1, false, (given, context));
            given
        };
        let given = |has_headers, has_provider_headers| Given::Kept { has_headers, has_provider_headers };
        assert_eq!(call(&context), given(false, false));
        assert_eq!(call(&context), Given::Nothing);
        context.provider_headers = Some(headers());
        assert_eq!(call(&context), given(true, false), "the answer has come");
        context.provider_headers = Some(headers());
        assert_eq!(call(&context), given(true, false), "another answer");
        assert_eq!(call(&context), Given::Nothing);
        for change in [
            (|context| context.read_only = true) as fn(&mut RequestContext),
            |context| context.attempt += 1,
            |context| context.model = "n".into(),
            |context| context.deployment = Some(Arc::new(Deployment::named("d", "p"))),
        ] {
            change(&mut context);
            assert_eq!(call(&context), given(true, true));
            assert_eq!(call(&context), Given::Nothing);
        }
        assert_eq!(bodies.release(1), Kept::Context);
        assert_eq!(call(&context), given(false, false));
    }

    #[test]
    fn i2_a_context_is_not_kept_beside_a_call_that_is_under_way() {
        let bodies = Bodies::new();
        let context = context();
        let first = bodies.given(1, &context);
        assert_ne!(first, Given::Once);
        let second = bodies.given(1, &context);
        assert_eq!(second, Given::Once);
        bodies.replied(1, false, (second, &context));
        assert_eq!(bodies.given(1, &context), Given::Once, "the first call has not ended");
        bodies.replied(1, false, (first, &context));
        assert_eq!(bodies.given(1, &context), Given::Nothing);
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
