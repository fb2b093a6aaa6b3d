//! Texts: each text of a request or an answer passes the text hooks, whole or in the pieces of a stream (rules T1 to T8).
//!
//! ```text
//! chain ──► body ────┐
//!                    ├──► places: where the texts are       turn: one call of a hook
//! stream ──► pieces ─┘    event: the events of a response object
//! ```
//!
//! `chain` passes whole bodies, `stream` chunks. An instance has its turn at a body as at a hook, so that the next one sees its
//! edits (rule O4). A document keeps what was parsed, so that several instances share one pass over a chunk. Deliberately
//! absent: how an instance decides.

mod body;
mod event;
mod pieces;
mod places;
mod progress;
mod turn;

use std::borrow::Cow;

pub(super) use self::{
    body::{answer, request},
    event::Numbers,
    pieces::Pieces,
    turn::{Stop, Turn},
};

use super::{
    hook::{HookInput, HookReply, Subject},
    kind::HookKind,
    traffic::Traffic,
};

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
    fn cut(&self, hold: Hold) -> usize {
        match hold {
            _ if self.is_end => self.text.len(),
            Hold::Nothing => self.text.len(),
            Hold::From(at) => at,
            Hold::Whole => 0,
        }
    }
}

/// The edit of a text is part of the reply: nothing has to be undone.
impl Subject for Text<'_> {
    fn lend(&mut self, _: HookKind) -> HookInput<'_> {
        HookInput::Text(self)
    }

    fn take_traffic(&mut self) -> Traffic {
        Traffic { read: self.text.len() as u64, written: 0 }
    }

    fn check_reply(&self, reply: &HookReply) -> Result<(), String> {
        let cut = self.cut(reply.hold);
        if !self.text.is_char_boundary(cut) {
            return Err(format!("held a text from byte {cut}, where no character of it starts"));
        }
        if self.text.len() - cut > self.room {
            return Err("held more than 1 MiB of texts in one request".to_owned());
        }
        Ok(())
    }
}
