//! The states that the instances of a snapshot keep for one request (rule X4), and the memory for their hooks.

use std::{ptr, sync::Arc};

use super::{hook::StateSlot, memory::HookMemory, snapshot::Snapshot};

/// One state slot for each instance of a snapshot, in its order. The states are released when this is dropped.
pub(crate) struct States {
    snapshot: Arc<Snapshot>,
    /// Empty until the first hook.
    slots: Vec<StateSlot>,
    memory: HookMemory,
}

impl States {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, slots: Vec::new(), memory: HookMemory::default() }
    }

    /// Returns the slot of the instance at this place, and the memory for the call of its hook.
    pub(crate) fn lend(&mut self, at: usize) -> (&mut StateSlot, &mut HookMemory) {
        self.fill();
        (&mut self.slots[at], &mut self.memory)
    }

    /// Returns the slots of all instances, in the order of the snapshot.
    pub(crate) fn all(&mut self) -> &mut [StateSlot] {
        self.fill();
        &mut self.slots
    }

    fn fill(&mut self) {
        if self.slots.is_empty() {
            let empty = || StateSlot::new(ptr::null_mut());
            self.slots.resize_with(self.snapshot.entries.len(), empty);
        }
    }

    /// Returns true if the release of the states may take time.
    pub(crate) fn take_time(&mut self) -> bool {
        let mut entries = self.snapshot.entries.iter().zip(&mut self.slots);
        entries.any(|(entry, slot)| !slot.get_mut().is_null() && entry.instance().release_takes_time())
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
