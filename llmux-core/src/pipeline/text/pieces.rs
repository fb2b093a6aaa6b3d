//! The texts of a stream: finds the pieces in each chunk, and puts back what goes on.
//!
//! A chunk whose text is held goes on with an empty text: its other members stay where they were. The rest of a text is sent in
//! a chunk of its own, before the chunk that ends the text.

use serde_json::json;

use super::{
    event::Events,
    places::{self, COMPLETION, Key, MEMBERS, PARTS, TOOL_INPUT},
    progress::{Held, Piece},
    put::{Released, clear_probabilities, set},
    subject::Channel,
};
use crate::{
    document::Document,
    pipeline::{
        body::Chunk,
        choices::finished,
        turn::{Stop, Turn},
    },
};

/// The texts of one stream.
#[derive(Default)]
pub(crate) struct Pieces {
    held: Held,
    /// The last chunk, as the pattern of a new one.
    last: Option<Document>,
    events: Events,
}

impl Pieces {
    /// Passes the texts of a chunk to the instance whose turn it is.
    pub(crate) async fn pass(&mut self, turn: &mut Turn<'_>, chunk: &mut Chunk) -> Result<Released, Stop> {
        if let Some((frame, data)) = chunk.body.frame().map(|(frame, data)| (frame.clone(), data.clone()))
            && let Some(only) = &frame.text
            && let Some(text) = only.read(&data)
        {
            let piece = Piece { text, ..piece(only.key, only.channel) };
            self.pass_piece(turn, chunk, &only.pointer, piece).await?;
            return Ok(Released::new());
        }
        let Some(document) = chunk.document().cloned() else { return Ok(Released::new()) };
        match turn.context.endpoint.ends_with_done() {
            true => self.pass_choices(turn, chunk, &document).await,
            false => self.events.pass(&mut self.held, turn, chunk, &document).await,
        }
    }

    async fn pass_choices(
        &mut self,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        document: &Document,
    ) -> Result<Released, Stop> {
        let finished = finished(document);
        for place in places::of_chunk(document) {
            let is_end = finished.iter().any(|(_, choice)| *choice == place.key.choice);
            let piece =
                Piece { tool: place.tool, text: place.text, is_end, ..piece(place.key, place.channel) };
            self.pass_piece(turn, chunk, &place.pointer, piece).await?;
        }
        let mut released = Released::new();
        for (_, choice) in finished {
            released.extend(self.end(turn, Some(choice), document).await?);
        }
        self.last = Some(document.clone());
        Ok(released)
    }

    /// Passes the text at a place of a chunk with choices, and puts back what goes on.
    async fn pass_piece(
        &mut self,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        pointer: &str,
        piece: Piece<'_>,
    ) -> Result<(), Stop> {
        let text = self.held.pass(turn, piece).await?;
        if text != piece.text {
            set(turn, chunk, pointer, &text)?;
            let choice = pointer.match_indices('/').nth(2).map_or("", |(at, _)| &pointer[..at]);
            clear_probabilities(chunk, choice, "null");
        }
        Ok(())
    }

    /// Ends the texts of an instance when its stream has ended. Returns the chunks with the rest of them.
    pub(crate) async fn finish(&mut self, turn: &mut Turn<'_>) -> Result<Released, Stop> {
        let Some(last) = self.last.clone() else { return self.events.finish(&mut self.held, turn).await };
        self.end(turn, None, &last).await
    }

    async fn end(
        &mut self,
        turn: &mut Turn<'_>,
        choice: Option<u32>,
        pattern: &Document,
    ) -> Result<Released, Stop> {
        let mut released = Released::new();
        for open in self.held.open(turn.place.0, choice) {
            let piece = Piece { is_end: true, ..piece(open.key, open.channel) };
            let text = self.held.pass(turn, piece).await?;
            if !text.is_empty() {
                released.push(new_chunk(pattern, open.key, &text));
            }
        }
        Ok(released)
    }
}

/// An empty piece of a text of a chunk with choices.
fn piece(key: Key, channel: Channel) -> Piece<'static> {
    Piece { key, channel, tool: "", item: "", text: "", is_end: false, is_repeated: false }
}

/// Makes a chunk with one text. The other members of the chunk are those of the pattern.
fn new_chunk(pattern: &Document, key: Key, text: &str) -> Chunk {
    let Key { choice, part, member } = key;
    let mut delta = json!({});
    match member {
        PARTS => delta["content"] = json!([{"type": "text", "text": text}]),
        TOOL_INPUT => delta["tool_calls"] = json!([{"index": part, "custom": {"input": text}}]),
        _ => match MEMBERS.get(member).and_then(|member| member.path.split_once('/')) {
            Some((outer, inner)) => delta[outer] = json!({ inner: text }),
            None => match MEMBERS.get(member) {
                Some(member) => delta[member.path] = json!(text),
                None => delta["tool_calls"] = json!([{"index": part, "function": {"arguments": text}}]),
            },
        },
    }
    let choice = match member {
        COMPLETION => json!([{"index": choice, "text": text, "logprobs": null, "finish_reason": null}]),
        _ => json!([{"index": choice, "delta": delta, "finish_reason": null}]),
    };
    Chunk::like(pattern, &choice.to_string())
}
