//! The document table: reading and editing a JSON body that the host owns.
//!
//! The host implements the table, the SDK's `handle` calls it. All functions are called during the hook call that was
//! lent the document: getters on any thread, setters on one thread at a time.
//!
//! Places are named by JSON Pointer (RFC 6901); the empty pointer is the whole document, and `-` as a last
//! segment is the place after an array's last element.

use std::marker::PhantomData;

use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RStr},
};

/// The edit was made.
pub const DOCUMENT_OK: u32 = 0;
/// The pointer does not follow RFC 6901, or names no place that the edit applies to.
pub const DOCUMENT_NO_SUCH_PLACE: u32 = 1;
/// The given text is not one JSON value.
pub const DOCUMENT_INVALID_JSON: u32 = 2;
/// The document is read-only.
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
#[derive(StableAbi, Clone, Copy)]
pub struct RawDocument<'a> {
    /// The document.
    pub object: *mut DocumentObject,
    /// The functions that take this object.
    pub table: DocumentTableRef,
    /// The time for which the object is lent.
    pub lent: PhantomData<&'a mut ()>,
}

/// Functions of a document, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DocumentTableRef)))]
#[sabi(missing_field(option))]
pub struct DocumentTable {
    /// Returns the JSON text of a place, without duplicate keys at any depth. The host owns the text; it is valid until
    /// the document is changed or the hook call ends. Absent: there is no such place.
    pub get: for<'a> unsafe extern "C" fn(
        object: RRef<'a, DocumentObject>,
        pointer: RStr<'_>,
    ) -> ROption<RStr<'a>>,
    /// Returns the unescaped content of a string. The host owns the text. Absent: there is no such place, or its value
    /// is not a string.
    pub get_str: for<'a> unsafe extern "C" fn(
        object: RRef<'a, DocumentObject>,
        pointer: RStr<'_>,
    ) -> ROption<RStr<'a>>,
    /// Returns the number of members of an object or elements of an array. Absent: the place does not exist or holds
    /// another kind of value.
    pub len: unsafe extern "C" fn(object: RRef<'_, DocumentObject>, pointer: RStr<'_>) -> ROption<u64>,
    /// Adds or replaces a member or an element. The parent must exist. The host copies the JSON. Returns
    /// [`DOCUMENT_OK`] or the reason of a refusal, as do `insert` and `remove`.
    pub set: unsafe extern "C" fn(object: RMut<'_, DocumentObject>, pointer: RStr<'_>, json: RStr<'_>) -> u32,
    /// Inserts an element before the one that the pointer names and moves the later elements back by one. The host
    /// copies the JSON.
    pub insert:
        unsafe extern "C" fn(object: RMut<'_, DocumentObject>, pointer: RStr<'_>, json: RStr<'_>) -> u32,
    /// Removes a member or an element, which must exist.
    #[sabi(last_prefix_field)]
    pub remove: unsafe extern "C" fn(object: RMut<'_, DocumentObject>, pointer: RStr<'_>) -> u32,
}
