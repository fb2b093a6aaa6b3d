//! One text of a request or an answer, as a text hook sees it.

use std::{fmt, ops::Deref};

use crate::raw::call::{
    TEXT_ARGUMENTS, TEXT_CONTENT, TEXT_REASONING, TEXT_REFUSAL, TEXT_REQUEST, TEXT_TRANSCRIPT, TextCallRef,
};

/// A text on its way to the provider or to the client. It reads as a `&str`.
///
/// In a stream, the hook receives a text in pieces: what it held, together with what follows. In a request and in an answer
/// that does not stream, a text is whole, and [`is_end`](Text::is_end) is true.
pub struct Text<'a> {
    text: &'a str,
    role: &'a str,
    tool: &'a str,
    side: Side,
    channel: Channel,
    choice: u32,
    number: u32,
    is_end: bool,
    change: Change,
}

/// The change that a hook makes to a text.
#[derive(Default)]
pub(crate) struct Change {
    /// The text in the place of the part that is not held.
    pub(crate) text: Option<String>,
    pub(crate) hold: Hold,
}

/// The part of a text that a hook holds.
#[derive(Clone, Copy, Default)]
pub(crate) enum Hold {
    #[default]
    Nothing,
    /// The end of the text, from this byte on.
    From(usize),
    /// The whole text, until it ends.
    Whole,
}

/// The side of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// A text of the request.
    Request,
    /// A text of the answer.
    Answer,
}

/// The meaning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Channel {
    /// The words of a message or of an input.
    Content,
    /// The reasoning of a model, or its summary.
    Reasoning,
    /// The words with which a model refuses.
    Refusal,
    /// The arguments of a tool call, which are JSON as a rule.
    Arguments,
    /// The words of spoken audio.
    Transcript,
    /// A channel that this SDK does not know.
    Other(u32),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.text
    }
}

/// Shows the text.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl<'a> Text<'a> {
    /// Copies the fields of the parameters, which are lent until the call returns.
    pub(crate) fn new(call: TextCallRef<'a>) -> Self {
        Self {
            text: call.text().as_str(),
            role: call.role().as_str(),
            tool: call.tool().as_str(),
            side: if call.side() == TEXT_REQUEST { Side::Request } else { Side::Answer },
            channel: match call.channel() {
                TEXT_CONTENT => Channel::Content,
                TEXT_REASONING => Channel::Reasoning,
                TEXT_REFUSAL => Channel::Refusal,
                TEXT_ARGUMENTS => Channel::Arguments,
                TEXT_TRANSCRIPT => Channel::Transcript,
                other => Channel::Other(other),
            },
            choice: call.choice(),
            number: call.number(),
            is_end: call.is_end(),
            change: Change::default(),
        }
    }

    pub(crate) fn into_change(self) -> Change {
        self.change
    }

    /// Returns the text: what the hook held of it, and what follows.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Returns the side of the text.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Returns the meaning of the text.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Returns the role of the message, as `user`; `assistant` for an answer; `None` for a text without a role, as the input of
    /// embeddings.
    pub fn role(&self) -> Option<&'a str> {
        Some(self.role).filter(|role| !role.is_empty())
    }

    /// Returns the name of the tool, if this is the arguments of a call and the name is known.
    pub fn tool(&self) -> Option<&'a str> {
        Some(self.tool).filter(|tool| !tool.is_empty())
    }

    /// Returns the index of the choice, or of the output item of a response object. 0 in a request.
    pub fn choice(&self) -> u32 {
        self.choice
    }

    /// Returns the number of the text: the pieces of one text of an answer have the same number, and no other text of the answer
    /// has it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns true if the text ends here. Holding has no effect then.
    pub fn is_end(&self) -> bool {
        self.is_end
    }

    /// Puts another text in the place of this one. If the hook also holds an end, that end is not replaced: `text` stands for
    /// the part before it.
    pub fn set(&mut self, text: impl Into<String>) {
        self.change.text = Some(text.into());
    }

    /// Holds the end of the text, from a byte on. It is not sent, and comes again together with the text that follows. The byte
    /// must start a character, or be the length of the text; otherwise the hook fails. A request may hold 1 MiB in all
    /// instances together.
    pub fn hold_from(&mut self, at: usize) {
        self.change.hold = Hold::From(at);
    }

    /// Holds the whole text until it ends. The hook is called again only then.
    pub fn hold_whole(&mut self) {
        self.change.hold = Hold::Whole;
    }

    /// Holds the longest end of the text that one of these words starts with and continues. A text that ends with `for` is held
    /// from there for the word `forbidden`. Compares bytes: upper and lower case are different. Returns the byte from which
    /// on the text is held; `None` if nothing is held, as at the end of the text.
    pub fn hold_start_of(&mut self, words: &[&str]) -> Option<usize> {
        let longest = words.iter().map(|word| word.len().saturating_sub(1)).max().unwrap_or_default();
        let from = self.text.ceil_char_boundary(self.text.len().saturating_sub(longest));
        let starts = |(at, _): &(usize, char)| {
            let end = &self.text[from + at..];
            words.iter().any(|word| word.len() > end.len() && word.starts_with(end))
        };
        let (at, _) = self.text[from..].char_indices().find(starts).filter(|_| !self.is_end)?;
        self.hold_from(from + at);
        Some(from + at)
    }
}
