//! A table of parameters on the caller's stack. The host lends one to each function of a plugin, and the SDK to each function
//! of the host that takes one.
//!
//! # Soundness
//!
//! A table that is lent is a pointer to the caller's stack. The callee of the contract reads it before it returns.

#![allow(unsafe_code)]

use abi_stable::{
    pmr::{PrefixRef, PrefixTypeTrait},
    prefix_type::WithMetadata,
};

/// A table of parameters. The callee reads it before it returns.
pub struct Parameters<T: PrefixTypeTrait>(WithMetadata<T>);

impl<T: PrefixTypeTrait> Parameters<T> {
    /// Makes a table of these parameters.
    pub fn new(parameters: T) -> Self {
        Self(WithMetadata::new(parameters))
    }

    /// Returns a reference to the table.
    ///
    /// # Safety
    ///
    /// It is not used after the table is gone.
    pub unsafe fn lend(&self) -> PrefixRef<T::PrefixFields> {
        // SAFETY: promised by the caller.
        unsafe { PrefixRef::from_raw(&raw const self.0) }
    }
}
