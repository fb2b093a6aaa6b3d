//! The document table: a [`Body`], for plugins to read and edit.

use std::marker::PhantomData;

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::{RMut, RRef},
    std_types::{RNone, ROption, RStr},
};
use llmux_abi::{
    host::guarded,
    raw::document::{self as code, DocumentObject, DocumentTable, DocumentTableRef, RawDocument},
};

use crate::pipeline::body::{Body, Edit, EditRefused};

struct Table;

impl Table {
    abi_stable::staticref! {
        const TABLE: WithMetadata<DocumentTable> =
            WithMetadata::new(DocumentTable { get, get_str, len, set, insert, remove });
    }
}

/// Makes a handle on a body.
pub(super) fn handle(body: &mut Body) -> RawDocument<'_> {
    let object = std::ptr::from_mut(body).cast::<DocumentObject>();
    RawDocument { object, table: DocumentTableRef(Table::TABLE.as_prefix()), lent: PhantomData }
}

/// Makes a handle on a body that may only be read.
pub(super) fn read_only_handle(body: &Body) -> RawDocument<'_> {
    debug_assert!(body.is_read_only(), "a shared body must not be edited");
    // No function of the table writes through it: `edit` looks at the body before it takes it mutably.
    let object = std::ptr::from_ref(body).cast_mut().cast::<DocumentObject>();
    RawDocument { object, table: DocumentTableRef(Table::TABLE.as_prefix()), lent: PhantomData }
}

fn body<'a>(object: RRef<'a, DocumentObject>) -> &'a Body {
    // SAFETY: objects of this table are bodies, lent for `'a` (see `handle`).
    unsafe { object.transmute_into_ref() }
}

unsafe extern "C" fn get<'a>(object: RRef<'a, DocumentObject>, pointer: RStr<'_>) -> ROption<RStr<'a>> {
    guarded(RNone, || {
        let body = body(object);
        let text = body.get(pointer.as_str());
        text.inspect(|text| body.count_read(text.len())).map(RStr::from_str).into()
    })
}

unsafe extern "C" fn get_str<'a>(object: RRef<'a, DocumentObject>, pointer: RStr<'_>) -> ROption<RStr<'a>> {
    guarded(RNone, || {
        let body = body(object);
        let text = body.document().and_then(|document| document.get_str(pointer.as_str()));
        text.inspect(|text| body.count_read(text.len())).map(RStr::from_str).into()
    })
}

unsafe extern "C" fn len(object: RRef<'_, DocumentObject>, pointer: RStr<'_>) -> ROption<u64> {
    guarded(RNone, || {
        body(object)
            .document()
            .and_then(|document| document.len(pointer.as_str()))
            .map(|len| len as u64)
            .into()
    })
}

fn edit(
    object: RMut<'_, DocumentObject>,
    written: usize,
    growth: usize,
    edit: impl FnOnce(&mut crate::document::Document) -> Result<(), crate::document::EditError>,
    record: impl FnOnce() -> Edit,
) -> u32 {
    let shared = body(object.as_rref());
    shared.count_written(written);
    if shared.is_read_only() {
        return code::DOCUMENT_READ_ONLY;
    }
    // SAFETY: objects of this table are bodies, and one that is not read-only was lent mutably.
    let body = unsafe { object.transmute_into_mut::<Body>() };
    match body.edit(growth, edit) {
        Ok(()) => {
            if body.keeps_journal() {
                body.record(record());
            }
            code::DOCUMENT_OK
        }
        Err(EditRefused::NoSuchPlace) => code::DOCUMENT_NO_SUCH_PLACE,
        Err(EditRefused::InvalidJson) => code::DOCUMENT_INVALID_JSON,
        Err(EditRefused::ReadOnly) => code::DOCUMENT_READ_ONLY,
        Err(EditRefused::TooLarge) => code::DOCUMENT_TOO_LARGE,
    }
}

unsafe extern "C" fn set(object: RMut<'_, DocumentObject>, pointer: RStr<'_>, json: RStr<'_>) -> u32 {
    guarded(code::DOCUMENT_READ_ONLY, || {
        let growth = json.len() + pointer.len();
        let record = || Edit::Set(pointer.to_string(), json.to_string());
        edit(object, json.len(), growth, |document| document.set(pointer.as_str(), json.as_str()), record)
    })
}

unsafe extern "C" fn insert(object: RMut<'_, DocumentObject>, pointer: RStr<'_>, json: RStr<'_>) -> u32 {
    guarded(code::DOCUMENT_READ_ONLY, || {
        let growth = json.len() + pointer.len();
        let record = || Edit::Insert(pointer.to_string(), json.to_string());
        edit(object, json.len(), growth, |document| document.insert(pointer.as_str(), json.as_str()), record)
    })
}

unsafe extern "C" fn remove(object: RMut<'_, DocumentObject>, pointer: RStr<'_>) -> u32 {
    guarded(code::DOCUMENT_READ_ONLY, || {
        let record = || Edit::Remove(pointer.to_string());
        edit(object, 0, 0, |document| document.remove(pointer.as_str()), record)
    })
}
