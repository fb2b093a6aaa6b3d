//! The request header `cache-control`, with which a client bypasses the cache (RFC 9111, section 5.2.1).
//!
//! Two directives are read, `no-cache` and `no-store`. All others are ignored.

/// The directives of a request that this plugin follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// `no-cache`: do not answer from the cache.
    pub(crate) no_cache: bool,
    /// `no-store`: do not store the answer.
    pub(crate) no_store: bool,
}

impl Control {
    pub(crate) fn parse(header: &str) -> Self {
        let mut control = Self::default();
        for directive in header.split(',') {
            let directive = directive.trim();
            control.no_cache |= directive.eq_ignore_ascii_case("no-cache");
            control.no_store |= directive.eq_ignore_ascii_case("no-store");
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_in_any_case_and_company() {
        for (header, no_cache, no_store) in [
            ("no-cache", true, false),
            ("max-age=0, No-Store", false, true),
            (" no-store ,no-cache", true, true),
            ("no-cached", false, false),
            ("", false, false),
        ] {
            assert_eq!(Control::parse(header), Control { no_cache, no_store }, "{header:?}");
        }
    }
}
