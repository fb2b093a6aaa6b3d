//! The sequence numbers of the events of a streamed response object.

use super::body::Chunk;

/// Numbers the events that are sent: each number follows the one before, also if hooks added, held or removed events.
#[derive(Default)]
pub(super) struct Numbers {
    /// The number of the next event; `None` before the first one.
    next: Option<u64>,
}

impl Numbers {
    /// Numbers the next event. An event without a number keeps none.
    pub(super) fn number(&mut self, chunk: &mut Chunk) {
        let Some(json) = chunk.document().and_then(|document| document.get("/sequence_number")) else {
            return;
        };
        let own = json.parse::<u64>().ok();
        let Some(number) = self.next.or(own) else { return };
        self.next = Some(number.saturating_add(1));
        if own != Some(number) {
            let set = chunk.body.edit(0, |document| document.set("/sequence_number", &number.to_string()));
            debug_assert!(set.is_ok(), "a member that was read can be set");
            chunk.body.commit();
        }
    }
}
