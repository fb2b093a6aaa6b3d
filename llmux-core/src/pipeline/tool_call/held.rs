//! The tool calls that instances hold of one stream.

use super::{deltas::Deltas, events::Events};
use crate::pipeline::{
    body::Chunk,
    turn::{Stop, Turn},
};

/// The tool calls of one stream, for each instance.
#[derive(Default)]
pub(crate) struct ToolCalls {
    instances: Vec<Instance>,
}

/// The tool calls of one stream at one instance.
#[derive(Default)]
struct Instance {
    /// The place of the instance in its snapshot.
    at: usize,
    deltas: Deltas,
    events: Events,
}

impl ToolCalls {
    /// Passes a chunk to the instance whose turn it is. Returns the chunks that go on in its place; `None` if it goes on itself.
    pub(crate) async fn pass(
        &mut self,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
    ) -> Result<Option<Vec<Chunk>>, Stop> {
        let is_chat = turn.context.endpoint.ends_with_done();
        let instance = self.instance(turn.place.0);
        if is_chat && instance.deltas.skips(&chunk.data()) {
            return Ok(None);
        }
        let Some(document) = chunk.document().cloned() else { return Ok(None) };
        match is_chat {
            true => instance.deltas.pass(turn, chunk, &document).await,
            false => instance.events.pass(turn, chunk, &document).await,
        }
    }

    /// Calls the hook for all that an instance still holds when its stream has ended. Returns the chunks that go on.
    pub(crate) async fn finish(&mut self, turn: &mut Turn<'_>) -> Result<Vec<Chunk>, Stop> {
        let instance = self.instance(turn.place.0);
        match turn.context.endpoint.ends_with_done() {
            true => instance.deltas.finish(turn).await,
            false => instance.events.finish(turn).await,
        }
    }

    fn instance(&mut self, at: usize) -> &mut Instance {
        let place = self.instances.iter().position(|instance| instance.at == at).unwrap_or_else(|| {
            self.instances.push(Instance { at, ..Instance::default() });
            self.instances.len() - 1
        });
        &mut self.instances[place]
    }
}
