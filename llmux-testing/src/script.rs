//! The upstream of a harness: answers in process, from a queue, and keeps what it was asked.
//!
//! `harness` makes one for each harness. Deliberately not HTTP: [`ScriptedServer`](super::ScriptedServer)
//! is, for those who test a provider.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt, future::BoxFuture, stream};
use llmux_abi::convert::{Assembler, to_chunks};
use serde_json::{Value, json};

use llmux_core::{
    document::Document,
    error::{Error, ErrorKind},
    provider::{Call, Echo, Event, Events, Provider},
};

/// One answer of the script.
#[derive(Clone, Debug)]
enum Answer {
    Response(Value),
    Text(String),
    /// Chunks, and the error that cuts them off.
    Chunks(Vec<Value>, Option<Error>),
    /// The same, of texts: whole chat chunks are made of them.
    Texts(Vec<String>, Option<Error>),
    Error(Error),
    Never,
}

/// A provider that answers from a queue; when that is empty, it repeats what it is asked, as `echo` does.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    sent: Vec<Value>,
}

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, answer: Answer) {
        self.state().answers.push_back(answer);
    }

    pub(crate) fn respond(&self, response: Value) {
        self.push(Answer::Response(response));
    }

    pub(crate) fn respond_text(&self, text: &str) {
        self.push(Answer::Text(text.to_owned()));
    }

    pub(crate) fn stream(&self, chunks: Vec<Value>) {
        self.push(Answer::Chunks(chunks, None));
    }

    pub(crate) fn stream_text(&self, texts: &[&str]) {
        self.push(Answer::Texts(owned(texts), None));
    }

    pub(crate) fn stream_cut(&self, texts: &[&str], message: &str) {
        let error = Error::new(ErrorKind::BadGateway, message);
        self.push(Answer::Texts(owned(texts), Some(error)));
    }

    pub(crate) fn fail(&self, status: u16, message: &str) {
        assert!(
            (400..600).contains(&status),
            "a provider's error has a status from 400 to 599, not {status}"
        );
        let error = json!({"message": message, "type": "upstream_error", "param": null, "code": null});
        self.push(Answer::Error(Error::from_parts(ErrorKind::Provider, status, error, None)));
    }

    pub(crate) fn hang(&self) {
        self.push(Answer::Never);
    }

    pub(crate) fn sent(&self) -> Vec<Value> {
        self.state().sent.clone()
    }

    /// Keeps what was asked, and gives the answer to it.
    fn next(&self, call: &Call) -> Option<Answer> {
        let mut state = self.state();
        let body = serde_json::from_slice(&call.body).unwrap_or_default();
        state.sent.push(body);
        state.answers.pop_front()
    }
}

impl Provider for Script {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Document, Error>> {
        Box::pin(async move {
            let whole = |chunks: &[Value], cut: Option<Error>| {
                let mut assembler = Assembler::new();
                chunks.iter().for_each(|chunk| assembler.push(chunk));
                let cut = cut.unwrap_or_else(|| Error::new(ErrorKind::BadGateway, "the chunks have no end"));
                assembler.finish().ok_or(cut)
            };
            let response = match self.next(&call) {
                None => return Echo::new().send(call).await,
                Some(Answer::Response(response)) => response,
                Some(Answer::Text(text)) => chat_response(&call, &text),
                Some(Answer::Chunks(chunks, cut)) => whole(&chunks, cut)?,
                Some(Answer::Texts(texts, cut)) => whole(&chat_chunks(&call, &texts, cut.is_none()), cut)?,
                Some(Answer::Error(error)) => return Err(error),
                Some(Answer::Never) => std::future::pending().await,
            };
            Ok(Document::from_value(&response))
        })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Events, Error>> {
        Box::pin(async move {
            let (chunks, cut) = match self.next(&call) {
                None => return Echo::new().stream(call).await,
                Some(Answer::Response(response)) => (to_chunks(&response), None),
                Some(Answer::Text(text)) => (chat_chunks(&call, &[text], true), None),
                Some(Answer::Chunks(chunks, cut)) => (chunks, cut),
                Some(Answer::Texts(texts, cut)) => (chat_chunks(&call, &texts, cut.is_none()), cut),
                Some(Answer::Error(error)) => return Err(error),
                Some(Answer::Never) => std::future::pending().await,
            };
            let events = chunks.into_iter().map(|chunk| {
                // An event of the responses endpoint is named by its type.
                let name = chunk["type"].as_str().map(Into::into);
                Ok(Event { name, data: chunk.to_string().into() })
            });
            Ok(stream::iter(events).chain(stream::iter(cut.map(Err))).boxed())
        })
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn asked(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap_or_default()
}

/// Tokens are words here: what is asked is counted by its messages' contents.
fn usage(request: &Value, answer: &str) -> Value {
    let words = |text: &str| text.split_whitespace().count();
    let messages = request["messages"].as_array().into_iter().flatten();
    let asked: usize = messages.filter_map(|message| message["content"].as_str()).map(words).sum();
    let answered = words(answer);
    json!({"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered})
}

fn chat_response(call: &Call, text: &str) -> Value {
    let request = asked(call);
    json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }],
        "usage": usage(&request, text),
    })
}

/// A chunk of each text; then, unless something cuts them off, the end, and the usage if it was asked for.
fn chat_chunks(call: &Call, texts: &[String], ends: bool) -> Vec<Value> {
    let request = asked(call);
    let chunk = |choices: Value| {
        json!({
            "id": "chatcmpl-scripted",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": request["model"],
            "choices": choices,
        })
    };
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let mut chunks: Vec<_> =
        texts.iter().map(|text| chunk(choice(json!({"content": text}), Value::Null))).collect();
    if ends {
        chunks.push(chunk(choice(json!({}), "stop".into())));
        if request["stream_options"]["include_usage"] == true {
            let mut last = chunk(json!([]));
            last["usage"] = usage(&request, &texts.concat());
            chunks.push(last);
        }
    }
    chunks
}
