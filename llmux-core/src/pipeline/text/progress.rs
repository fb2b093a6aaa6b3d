//! The progress of each text of a stream at each instance: what was held, and what was sent.

use std::borrow::Cow;

use super::{
    places::Key,
    subject::{Channel, Hold, Side, Text},
    verdict,
};
use crate::pipeline::turn::{MAX_HELD, Stop, Turn};

/// The most texts of one stream, and the most bytes of a text that is repeated. A provider chooses both.
const MAX_TEXTS: usize = 4096;
const MAX_REPEATED: usize = 64 << 20;

/// The texts of a stream at all instances.
#[derive(Default)]
pub(super) struct Held {
    instances: Vec<Instance>,
}

/// The texts of a stream at one instance.
struct Instance {
    /// The place of the instance in its snapshot.
    at: usize,
    texts: Vec<Progress>,
    /// True if the hook held too much: texts then pass without it.
    is_passed_by: bool,
}

/// The progress of one text at one instance.
struct Progress {
    key: Key,
    channel: Channel,
    tool: String,
    item: String,
    held: String,
    /// True if the hook is called again at the end only.
    holds_whole: bool,
    is_ended: bool,
    /// The text that was sent, if it is repeated later.
    sent: Option<String>,
}

/// A piece of a text.
#[derive(Clone, Copy)]
pub(super) struct Piece<'p> {
    pub(super) key: Key,
    pub(super) channel: Channel,
    /// The name of the tool; empty for none.
    pub(super) tool: &'p str,
    /// The identifier of the output item; empty for none.
    pub(super) item: &'p str,
    pub(super) text: &'p str,
    pub(super) is_end: bool,
    /// True if later events repeat the text.
    pub(super) is_repeated: bool,
}

/// A text that has not ended.
pub(super) struct Open {
    pub(super) key: Key,
    pub(super) channel: Channel,
    pub(super) item: String,
}

impl Held {
    /// Passes a piece to the instance whose turn it is. Returns the text that goes on.
    pub(super) async fn pass(&mut self, turn: &mut Turn<'_>, piece: Piece<'_>) -> Result<String, Stop> {
        let room = MAX_HELD.saturating_sub(*turn.held);
        let instance = Instance::of(&mut self.instances, turn.place.0);
        if instance.texts.len() == MAX_TEXTS && !instance.texts.iter().any(|text| text.key == piece.key) {
            return Err(Stop::too_much("more than 4096 texts"));
        }
        let (number, progress) = Progress::of(&mut instance.texts, &piece);
        if !progress.holds_whole && piece.text.is_empty() && !piece.is_end {
            return Ok(String::new());
        }
        *turn.held -= progress.held.len();
        let room = room + progress.held.len();
        let mut text = std::mem::take(&mut progress.held);
        text.push_str(piece.text);
        progress.is_ended = piece.is_end;
        let passed = match instance.is_passed_by {
            true => text,
            false if progress.holds_whole && !piece.is_end && text.len() <= room => {
                progress.held = text;
                String::new()
            }
            false => {
                let mut lent = Text {
                    text: Cow::Owned(text),
                    role: Cow::Borrowed("assistant"),
                    tool: Cow::Borrowed(&progress.tool),
                    side: Side::Answer,
                    channel: piece.channel,
                    choice: piece.key.choice,
                    number,
                    is_end: piece.is_end,
                    room,
                };
                let verdict = verdict::call(turn, &mut lent).await?;
                instance.is_passed_by = verdict.has_failed && lent.text.len() > room;
                let cut = lent.cut(verdict.hold);
                let mut text = lent.text.into_owned();
                progress.holds_whole = verdict.hold == Hold::Whole;
                progress.held = text.split_off(cut);
                verdict.text.unwrap_or(text)
            }
        };
        *turn.held += progress.held.len();
        if let Some(sent) = &mut progress.sent {
            sent.push_str(&passed);
            if sent.len() > MAX_REPEATED {
                return Err(Stop::too_much("a text of more than 64 MiB"));
            }
        }
        Ok(passed)
    }

    /// Returns the texts of an instance that have not ended; those of one choice if it is given.
    pub(super) fn open(&self, at: usize, choice: Option<u32>) -> Vec<Open> {
        let texts = self.instances.iter().find(|instance| instance.at == at).map(|instance| &instance.texts);
        let is_open =
            |text: &&Progress| !text.is_ended && choice.is_none_or(|choice| text.key.choice == choice);
        let open = |text: &Progress| Open { key: text.key, channel: text.channel, item: text.item.clone() };
        texts.into_iter().flatten().filter(is_open).map(open).collect()
    }

    /// Returns whether a text has begun at an instance, and whether it has ended there.
    pub(super) fn state(&self, at: usize, key: Key) -> Option<bool> {
        self.find(at, key).map(|text| text.is_ended)
    }

    /// Returns the text that an instance has sent.
    pub(super) fn sent(&self, at: usize, key: Key) -> &str {
        self.find(at, key).and_then(|text| text.sent.as_deref()).unwrap_or_default()
    }

    fn find(&self, at: usize, key: Key) -> Option<&Progress> {
        let instance = self.instances.iter().find(|instance| instance.at == at)?;
        instance.texts.iter().find(|text| text.key == key)
    }
}

impl Instance {
    fn of(instances: &mut Vec<Self>, at: usize) -> &mut Self {
        let place = instances.iter().position(|instance| instance.at == at).unwrap_or_else(|| {
            instances.push(Self { at, texts: Vec::new(), is_passed_by: false });
            instances.len() - 1
        });
        &mut instances[place]
    }
}

impl Progress {
    /// Returns the progress of the text of a piece, and the number of the text. A piece after the end begins the text again.
    fn of<'a>(texts: &'a mut Vec<Self>, piece: &Piece<'_>) -> (u32, &'a mut Self) {
        let place = texts.iter().position(|text| text.key == piece.key).unwrap_or_else(|| {
            texts.push(Self {
                key: piece.key,
                channel: piece.channel,
                tool: String::new(),
                item: piece.item.to_owned(),
                held: String::new(),
                holds_whole: false,
                is_ended: false,
                sent: piece.is_repeated.then(String::new),
            });
            texts.len() - 1
        });
        let progress = &mut texts[place];
        // Later pieces of a call's arguments do not repeat the name.
        if !piece.tool.is_empty() {
            piece.tool.clone_into(&mut progress.tool);
        }
        if std::mem::take(&mut progress.is_ended) {
            progress.holds_whole = false;
        }
        (place as u32, progress)
    }
}
