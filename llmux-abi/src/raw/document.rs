//! The document table: how a plugin reads and edits a JSON body that the host owns.
//!
//! Places are named by JSON Pointer (RFC 6901); the empty pointer is the whole document, and `-` as a last
//! segment is the place after an array's last element.

use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RStr},
};

/// The edit was made.
pub const DOCUMENT_OK: u32 = 0;
/// The pointer is not RFC 6901, or names no place that the edit could apply to.
pub const DOCUMENT_NO_SUCH_PLACE: u32 = 1;
/// The text given is not one JSON value.
pub const DOCUMENT_INVALID_JSON: u32 = 2;
/// This document may be read, not changed.
pub const DOCUMENT_READ_ONLY: u32 = 3;
/// The document would become larger than the host allows.
pub const DOCUMENT_TOO_LARGE: u32 = 4;

/// A document inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct DocumentObject {
    opaque: [u8; 0],
}

/// A handle on a document: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawDocument<'a> {
    /// The document.
    pub object: RMut<'a, DocumentObject>,
    /// What can be done with it.
    pub table: DocumentTableRef,
}

/// Functions of a document, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DocumentTableRef)))]
#[sabi(missing_field(option))]
pub struct DocumentTable {
    /// The JSON text of a place, without duplicate keys at any depth; absent where there is none.
    pub get: for<'a> unsafe extern "C" fn(
        object: RRef<'a, DocumentObject>,
        pointer: RStr<'_>,
    ) -> ROption<RStr<'a>>,
    /// The unescaped text of a string; absent where there is none, or the value is no string.
    pub get_str: for<'a> unsafe extern "C" fn(
        object: RRef<'a, DocumentObject>,
        pointer: RStr<'_>,
    ) -> ROption<RStr<'a>>,
    /// How many members an object or elements an array has; absent for anything else.
    pub len: unsafe extern "C" fn(object: RRef<'_, DocumentObject>, pointer: RStr<'_>) -> ROption<u64>,
    /// Adds a member or element, or replaces it: pointer, JSON. The parent must exist. Answers a code.
    pub set: unsafe extern "C" fn(object: RMut<'_, DocumentObject>, pointer: RStr<'_>, json: RStr<'_>) -> u32,
    /// Inserts an element before the one the pointer names, shifting what follows: pointer, JSON.
    pub insert:
        unsafe extern "C" fn(object: RMut<'_, DocumentObject>, pointer: RStr<'_>, json: RStr<'_>) -> u32,
    /// Removes a member or element, which must exist.
    #[sabi(last_prefix_field)]
    pub remove: unsafe extern "C" fn(object: RMut<'_, DocumentObject>, pointer: RStr<'_>) -> u32,
}
