//! The states that the instances of a snapshot keep for one request (rule X4).

use std::{ptr, sync::Arc};

use super::{hook::StateSlot, snapshot::Snapshot};

/// One state slot for each instance of a snapshot, in its order. The states are released when this is dropped.
pub(crate) struct States {
    snapshot: Arc<Snapshot>,
    slots: Vec<StateSlot>,
}

impl States {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let slots = snapshot.entries.iter().map(|_| StateSlot::new(ptr::null_mut())).collect();
        Self { snapshot, slots }
    }

    /// Returns the slot of the instance at this place.
    pub(crate) fn slot(&mut self, at: usize) -> &mut StateSlot {
        &mut self.slots[at]
    }

    /// Returns true if no instance keeps a state.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.slots.iter_mut().all(|slot| slot.get_mut().is_null())
    }
}

impl Drop for States {
    fn drop(&mut self) {
        for (entry, slot) in self.snapshot.entries.iter().zip(&mut self.slots) {
            if !slot.get_mut().is_null() {
                entry.instance().release_state(slot);
            }
        }
    }
}
