//! The setters of settings: each takes a value and returns it with another value in one field.

/// Writes the setters of a type, one for each field.
macro_rules! setters {
    ($owner:ident: $($(#[$doc:meta])* $with:ident: $field:ident: $type:ty;)*) => {
        impl $owner {$(
            $(#[$doc])*
            #[must_use]
            pub fn $with(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*}
    };
}

pub(crate) use setters;
