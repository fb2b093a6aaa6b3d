//! Libraries as files: found, inspected, verified, copied and loaded.
//!
//! `registry` calls these modules, and `report` describes what they return. Deliberately absent: instances, and any
//! decision about which plugins run.

mod beside;
mod copy_folder;
pub(super) mod discover;
pub(super) mod error;
mod file;
pub(super) mod inspect;
pub(super) mod isolation;
pub(super) mod load;
mod lookup;
pub(super) mod manifest;
mod mapped;
mod memory_copy;
pub(super) mod needs;
mod object_file;
pub(super) mod options;
mod private_copy;
pub(super) mod sandbox;
mod search_folder;
mod segments;
pub(super) mod signature;
mod system_libraries;
pub(super) mod trial;
pub(super) mod verify;
