//! A tool call, as one call of a tool call hook sees it: the subject of the hook.

use std::borrow::Cow;

use crate::document::Document;

/// A tool call, as one call of a tool call hook sees it.
#[derive(Clone, Debug)]
pub(crate) struct ToolCall<'c> {
    /// Empty for none.
    pub(crate) id: Cow<'c, str>,
    pub(crate) name: Cow<'c, str>,
    pub(crate) arguments: Cow<'c, str>,
    /// The index of the choice, or of the output item.
    pub(crate) choice: u32,
    pub(crate) is_json: bool,
}

impl ToolCall<'_> {
    /// Checks that an edit leaves a tool call.
    pub(crate) fn check(&self, name: &str, arguments: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("left a tool call without a name".to_owned());
        }
        if self.is_json && !is_json(arguments) {
            return Err("put arguments that are not JSON in the place of JSON".to_owned());
        }
        Ok(())
    }
}

/// Returns true if arguments are JSON.
pub(super) fn is_json(arguments: &str) -> bool {
    Document::parse(arguments.to_owned()).is_ok()
}
