//! The requests of a rehearsal: the built-in ones, and one from a file.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_core::{Document, Endpoint, Request, pipeline::Identity};
use serde_json::Value;

use crate::{
    commands::authors::{Question, SampleName},
    terminal::cli_error::{CliError, Result},
};

/// A request to send, as often as one likes.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) request: Request,
}

/// The requests that the command line asks for; without any, every built-in one.
pub(crate) fn samples(question: &Question) -> Result<Vec<Sample>> {
    if let Some(file) = &question.request {
        return Ok(vec![recorded(file, question)?]);
    }
    let every = [SampleName::Chat, SampleName::Conversation, SampleName::Json, SampleName::Embeddings];
    let (names, asked_for) = match &*question.sample {
        [] => (&every[..], false),
        names => (names, true),
    };
    let mut samples = Vec::new();
    for &name in names {
        let (title, endpoint, body) = built_in(name);
        if question.stream && endpoint == Endpoint::Embeddings {
            if asked_for {
                return Err(CliError::new("--stream: embeddings never stream"));
            }
            continue;
        }
        let request = Request::new(endpoint, body).map_err(CliError::new)?;
        samples.push(Sample { name: title.to_owned(), endpoint, request: signed(request, question)? });
    }
    Ok(samples)
}

/// Every text in a JSON value: in a configuration, some of them are names of models.
pub(crate) fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            found.push(name.clone());
            texts(member, found);
        }),
        _ => {}
    }
}

/// What a JSON file holds.
pub(crate) fn read(flag: &str, file: &Path) -> Result<(Vec<u8>, Document)> {
    let problem =
        |error: &dyn std::fmt::Display| CliError::new(format!("{flag} {}: {error}", file.display()));
    let text = std::fs::read(file).map_err(|error| problem(&error))?;
    let document = Document::parse(text.clone()).map_err(|error| problem(&error))?;
    Ok((text, document))
}

fn recorded(file: &Path, question: &Question) -> Result<Sample> {
    let problem =
        |error: &dyn std::fmt::Display| CliError::new(format!("--request {}: {error}", file.display()));
    let (text, document) = read("--request", file)?;
    let has = |member| document.get(member).is_some();
    let endpoint = match question.endpoint {
        Some(endpoint) => endpoint,
        None if has("/messages") => Endpoint::ChatCompletions,
        None if has("/prompt") => Endpoint::Completions,
        None if has("/input") && (has("/instructions") || has("/max_output_tokens")) => Endpoint::Responses,
        None if has("/input") => Endpoint::Embeddings,
        None => {
            return Err(problem(
                &"no endpoint has such a body, which has no `messages`, `prompt` or `input`; name one with --endpoint",
            ));
        }
    };
    if question.stream && endpoint == Endpoint::Embeddings {
        return Err(problem(&"embeddings never stream; name another endpoint with --endpoint"));
    }
    let request = Request::new(endpoint, text).map_err(|error| problem(&error))?;
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    Ok(Sample { name, endpoint, request: signed(request, question)? })
}

/// The request with its headers and its user.
fn signed(request: Request, question: &Question) -> Result<Request> {
    let mut headers = HeaderMap::new();
    for header in &question.headers {
        let problem = |why: &str| CliError::new(format!("--header {header:?}: {why}"));
        let (name, value) = header.split_once(':').ok_or_else(|| problem("written as NAME: VALUE"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| problem("no name of a header"))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| problem("no value of a header"))?;
        headers.append(name, value);
    }
    let identity = question.user.clone().map(|user| {
        let key_id = "try".to_owned();
        Identity { key_id, user: Some(user), team: None }.into()
    });
    // The same in every run, so that two runs can be compared.
    Ok(request.headers(headers).identity(identity).request_id("try"))
}

fn built_in(name: SampleName) -> (&'static str, Endpoint, &'static str) {
    match name {
        SampleName::Chat => (
            "chat",
            Endpoint::ChatCompletions,
            r#"{
                "model": "echo",
                "messages": [{"role": "user", "content": "Why is the sky blue?"}]
            }"#,
        ),
        SampleName::Conversation => (
            "conversation",
            Endpoint::ChatCompletions,
            r#"{
                "model": "echo",
                "temperature": 0.2,
                "max_tokens": 200,
                "user": "ada",
                "messages": [
                    {"role": "system", "content": "You are a patient assistant."},
                    {"role": "user", "content": "I am Ada, and I cannot log in."},
                    {"role": "assistant", "content": "How can we reach you?"},
                    {"role": "user", "content": "Write to ada@example.com, or call +1 415 555 0132; I paid with 4111 1111 1111 1111."}
                ]
            }"#,
        ),
        SampleName::Json => (
            "json",
            Endpoint::ChatCompletions,
            r#"{
                "model": "echo",
                "response_format": {"type": "json_object"},
                "messages": [{"role": "user", "content": "Give me three colors of the rainbow as JSON."}]
            }"#,
        ),
        SampleName::Embeddings => {
            ("embeddings", Endpoint::Embeddings, r#"{"model": "echo", "input": ["the sky", "the sea"]}"#)
        }
    }
}
