//! A text, as one call of a text hook sees it: the subject of the hook.

use std::borrow::Cow;

/// A text, as one call of a text hook sees it.
#[derive(Clone, Debug)]
pub(crate) struct Text<'t> {
    /// The part that the instance held, and what follows.
    pub(crate) text: Cow<'t, str>,
    /// The role of the message; empty for none.
    pub(crate) role: Cow<'t, str>,
    /// The name of the tool that the arguments are for; empty for none.
    pub(crate) tool: Cow<'t, str>,
    pub(crate) side: Side,
    pub(crate) channel: Channel,
    /// The index of the choice, or of the output item.
    pub(crate) choice: u32,
    /// Distinguishes the texts of one side.
    pub(crate) number: u32,
    pub(crate) is_end: bool,
    /// The number of bytes that the instance may hold.
    pub(crate) room: usize,
}

/// The side of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// The meaning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Content,
    Reasoning,
    Refusal,
    Arguments,
    Transcript,
}

/// The part of a text that an instance holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    #[default]
    Nothing,
    /// The end of the text, from this byte on.
    From(usize),
    /// The whole text, until it ends.
    Whole,
}

impl Channel {
    pub(crate) const ALL: [Channel; 5] =
        [Channel::Content, Channel::Reasoning, Channel::Refusal, Channel::Arguments, Channel::Transcript];
}

impl Text<'_> {
    /// Returns the number of bytes that go on.
    pub(super) fn cut(&self, hold: Hold) -> usize {
        match hold {
            _ if self.is_end => self.text.len(),
            Hold::Nothing => self.text.len(),
            Hold::From(at) => at,
            Hold::Whole => 0,
        }
    }
}

impl Text<'_> {
    /// Checks that the host can hold the end of the text.
    pub(crate) fn check(&self, hold: Hold) -> Result<(), String> {
        let cut = self.cut(hold);
        if !self.text.is_char_boundary(cut) {
            return Err(format!("held a text from byte {cut}, where no character of it starts"));
        }
        if self.text.len() - cut > self.room {
            return Err("held more than 1 MiB of texts in one request".to_owned());
        }
        Ok(())
    }
}
