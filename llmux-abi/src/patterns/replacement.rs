//! A match, and the decision of a plugin about it.
//!
//! `matching` shows the match to a plugin and carries the decision out.

use std::borrow::Cow;

use crate::{Error, Result};

/// A match of a pattern.
#[derive(Clone, Copy, Debug)]
pub struct Match<'t> {
    pub(super) name: &'t str,
    pub(super) pattern: usize,
    pub(super) text: &'t str,
}

impl<'t> Match<'t> {
    /// Name of the pattern.
    pub fn name(&self) -> &'t str {
        self.name
    }

    /// Index of the pattern, in the order in which the patterns were given.
    pub fn pattern(&self) -> usize {
        self.pattern
    }

    /// The matched text.
    pub fn text(&self) -> &'t str {
        self.text
    }
}

/// Decision about a match. Texts, options and errors become one: a text replaces the match, `None` keeps it, an error refuses
/// the whole text.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Replacement {
    /// The match stays.
    Keep,
    /// A text stands in place of the match. It is not searched again.
    Text(Cow<'static, str>),
    /// The text is refused with an error.
    Refuse(Error),
}

impl From<&'static str> for Replacement {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Replacement {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Cow<'static, str>> for Replacement {
    fn from(text: Cow<'static, str>) -> Self {
        Self::Text(text)
    }
}

impl From<Error> for Replacement {
    fn from(error: Error) -> Self {
        Self::Refuse(error)
    }
}

impl<T: Into<Self>> From<Option<T>> for Replacement {
    fn from(replacement: Option<T>) -> Self {
        replacement.map_or(Self::Keep, Into::into)
    }
}

impl<T: Into<Self>> From<Result<T>> for Replacement {
    fn from(replacement: Result<T>) -> Self {
        replacement.map_or_else(Self::Refuse, Into::into)
    }
}
