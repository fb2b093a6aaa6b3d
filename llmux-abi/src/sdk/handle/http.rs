//! The response to an HTTP request of a plugin.

use abi_stable::sabi_types::{RMut, RRef};

use crate::raw::http::{HttpResponseObject, RawHttpResponse};

/// The response to an HTTP request of a plugin.
pub(crate) struct HttpResponseHandle {
    raw: RawHttpResponse,
}

// SAFETY: a response belongs to whoever holds the handle, and the contract lets any thread call its table.
unsafe impl Send for HttpResponseHandle {}
// SAFETY: its getters take an `RRef`, which the contract lets several threads use at once.
unsafe impl Sync for HttpResponseHandle {}

impl Drop for HttpResponseHandle {
    fn drop(&mut self) {
        // SAFETY: the handle owns the response and gives it back here, once.
        unsafe { self.raw.table.drop()(self.raw.object) }
    }
}

impl HttpResponseHandle {
    pub(crate) fn new(raw: RawHttpResponse) -> Self {
        Self { raw }
    }

    fn object(&self) -> RRef<'_, HttpResponseObject> {
        // SAFETY: the host's pointer is to a live response until `drop`.
        unsafe { RRef::from_raw(self.raw.object) }
    }

    pub(crate) fn status(&self) -> u16 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.status()(self.object()) }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.header()(self.object(), name.into()) }.into_option().map(|text| text.as_str())
    }

    pub(crate) fn body(&self) -> &[u8] {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.body()(self.object()) }.as_slice()
    }

    pub(crate) fn failure(&self) -> u32 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.failure()(self.object()) }
    }

    /// Waits for the next piece of the body, and returns a code of `next`.
    pub(crate) async fn next(&mut self) -> u32 {
        // SAFETY: the host's pointer is to a live response until `drop`, and `&mut self` keeps calls one at a time.
        let object = unsafe { RMut::from_raw(self.raw.object) };
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.next()(object) }.await
    }
}
