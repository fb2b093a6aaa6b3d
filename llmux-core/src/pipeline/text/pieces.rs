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
};
use crate::{
    document::Document,
    pipeline::{
        body::Chunk,
        choices::{chunk_like, finished},
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
            let piece = Piece {
                key: place.key,
                channel: place.channel,
                tool: place.tool,
                item: "",
                text: place.text,
                is_end: finished.iter().any(|(_, choice)| *choice == place.key.choice),
                is_repeated: false,
            };
            let text = self.held.pass(turn, piece).await?;
            if text != place.text {
                set(turn, chunk, &place.pointer, &text)?;
                let choice =
                    place.pointer.match_indices('/').nth(2).map_or("", |(at, _)| &place.pointer[..at]);
                clear_probabilities(chunk, choice, "null");
            }
        }
        let mut released = Released::new();
        for (_, choice) in finished {
            released.extend(self.end(turn, Some(choice), document).await?);
        }
        self.last = Some(document.clone());
        Ok(released)
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
            let (tool, item, text) = ("", "", "");
            let (is_end, is_repeated) = (true, false);
            let piece = Piece { key: open.key, channel: open.channel, tool, item, text, is_end, is_repeated };
            let text = self.held.pass(turn, piece).await?;
            if !text.is_empty() {
                released.push(new_chunk(pattern, open.key, &text));
            }
        }
        Ok(released)
    }
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
    chunk_like(pattern, &choice.to_string())
}
