//! One tool call of an answer, as a tool call hook sees it.

use serde::{Serialize, de::DeserializeOwned};

use super::error::{Error, Result};
use crate::raw::call::ToolCallRef;

/// A call of a tool that the model asks for, on its way to the client. It is whole, also in a stream.
///
/// The accessors return the call as the hook received it. Edits count when the hook returns
/// [`ToolFlow::Continue`](crate::ToolFlow::Continue).
pub struct ToolCall<'a> {
    id: &'a str,
    name: &'a str,
    arguments: &'a str,
    choice: u32,
    is_json: bool,
    new_name: Option<String>,
    new_arguments: Option<String>,
}

impl<'a> ToolCall<'a> {
    /// Copies the fields of the parameters, which are lent until the call returns.
    pub(crate) fn new(call: ToolCallRef<'a>) -> Self {
        Self {
            id: call.id().as_str(),
            name: call.name().as_str(),
            arguments: call.arguments().as_str(),
            choice: call.choice(),
            is_json: call.is_json(),
            new_name: None,
            new_arguments: None,
        }
    }

    /// Returns the name and the arguments with the edits; `None` if the hook edited neither.
    pub(crate) fn edited(&self) -> Option<(&str, &str)> {
        let (name, arguments) = (self.new_name.as_deref(), self.new_arguments.as_deref());
        (name.is_some() || arguments.is_some())
            .then(|| (name.unwrap_or(self.name), arguments.unwrap_or(self.arguments)))
    }

    /// Returns the identifier that the result of the call will name. `None` for the legacy `function_call`, and if the provider
    /// gave none.
    pub fn id(&self) -> Option<&'a str> {
        Some(self.id).filter(|id| !id.is_empty())
    }

    /// Returns the name of the tool. Empty if the provider gave none.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the arguments, in any type that serde reads, such as [`serde_json::Value`].
    ///
    /// # Errors
    ///
    /// If the arguments are not JSON, or do not fit the type. The message names the tool, and has no part of the arguments.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.arguments).map_err(|error| {
            let (name, line, column) = (self.name, error.line(), error.column());
            let why = if self.is_json { "do not fit" } else { "are not JSON" };
            Error::new(format!(
                "the arguments of the tool call `{name}` {why} (line {line}, column {column})"
            ))
        })
    }

    /// Returns the arguments as text, as the model wrote them.
    pub fn arguments_text(&self) -> &'a str {
        self.arguments
    }

    /// Returns true if the arguments are JSON. False for a custom tool, whose input is text, and for arguments that the model
    /// wrote wrong or did not finish.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Returns the index of the choice, or of the output item of a response object.
    pub fn choice(&self) -> u32 {
        self.choice
    }

    /// Sets the name of the tool. With an empty name, the hook fails.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.new_name = Some(name.into());
    }

    /// Sets the arguments: a [`serde_json::Value`], a struct.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON. Nothing is set then.
    pub fn set_arguments(&mut self, arguments: &impl Serialize) -> Result<()> {
        self.new_arguments = Some(serde_json::to_string(arguments)?);
        Ok(())
    }

    /// Sets the arguments as text. If [`is_json`](ToolCall::is_json) is true and the text is not JSON, the hook fails.
    pub fn set_arguments_text(&mut self, arguments: impl Into<String>) {
        self.new_arguments = Some(arguments.into());
    }
}
