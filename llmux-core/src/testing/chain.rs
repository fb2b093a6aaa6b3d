//! The chains of a client's pipeline without a provider: what they cost, and what they make of a body.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    Client, Request,
    document::Document,
    error::Error,
    pipeline::{Chunk, InFlight, Sent, bench, snapshot::Snapshot},
    provider::Event,
};

/// A request that goes through the chains again and again.
pub struct Chain {
    request: InFlight,
    model: Arc<str>,
    snapshot: Arc<Snapshot>,
    reader: mpsc::Sender<Sent>,
    chunks: mpsc::Receiver<Sent>,
}

impl Client {
    /// Is no request under way, with all that follows it?
    pub fn is_idle(&self) -> bool {
        // Every request holds the pipeline as it was when it entered; two are ours and the registry's.
        Arc::strong_count(&self.plugins().snapshot()) <= 2
    }
}

impl Chain {
    /// The chains of a client as they are now.
    ///
    /// # Errors
    ///
    /// As a request of that client.
    pub fn new(client: &Client, request: Request) -> Result<Self, Error> {
        let (reader, chunks) = mpsc::channel(64);
        let (request, snapshot) = client.enter(request, false)?;
        let model = request.context.model.clone();
        Ok(Self { request, model, snapshot, reader, chunks })
    }

    /// The pre chain, then the post chain, with this response where no plugin answers. Without `on_complete`.
    ///
    /// # Errors
    ///
    /// What the plugins answered instead.
    pub async fn run(&mut self, response: Document) -> Result<Document, Error> {
        self.request.context.model = self.model.clone();
        bench::round(&mut self.request, &self.snapshot, response).await
    }

    /// Takes a chunk through the chunk hooks of the instances that the last `run` reached, and gives the last
    /// one that came out.
    ///
    /// # Errors
    ///
    /// What a plugin ended the stream with.
    pub async fn chunk(&mut self, data: Bytes) -> Result<Option<Chunk>, Error> {
        bench::through(&mut self.request, &self.snapshot, Event { name: None, data }, &self.reader).await?;
        let mut last = None;
        while let Ok(sent) = self.chunks.try_recv() {
            if let Sent::Chunk(chunk) = sent {
                last = Some(chunk);
            }
        }
        Ok(last)
    }
}
