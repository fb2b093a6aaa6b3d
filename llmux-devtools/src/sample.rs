//! Requests of a trial: the built-in ones, and one from a file.
//!
//! `try_plugin` and `bench` read the arguments with it.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_core::{Document, Endpoint, Request, pipeline::Identity};
use serde_json::Value;

use llmux_terminal::{CliError, Result};

use crate::args::{RequestArgs, SampleName};

/// A request that can be sent any number of times.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) request: Request,
}

/// Returns the requests that the arguments name; without any, every built-in one.
pub(crate) fn samples(args: &RequestArgs) -> Result<Vec<Sample>> {
    if let Some(file) = &args.file {
        return Ok(vec![recorded(file, args)?]);
    }
    let every = [SampleName::Chat, SampleName::Conversation, SampleName::Json, SampleName::Embeddings];
    let (names, are_named) = match &*args.samples {
        [] => (&every[..], false),
        names => (names, true),
    };
    let mut samples = Vec::new();
    for &name in names {
        let (title, endpoint, body) = built_in(name);
        if args.stream && !endpoint.streams() {
            if are_named {
                return Err(CliError::new("--stream: embeddings never stream"));
            }
            continue;
        }
        let request = Request::new(endpoint, body).map_err(CliError::new)?;
        samples.push(Sample { name: title.to_owned(), endpoint, request: with_sender(request, args)? });
    }
    Ok(samples)
}

/// Collects every string and member name in a JSON value. In a configuration, some of them are names of models.
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

/// Reads a JSON file.
pub(crate) fn read(flag: &str, file: &Path) -> Result<(Vec<u8>, Document)> {
    let failed = |error: &dyn std::fmt::Display| CliError::new(format!("{flag} {}: {error}", file.display()));
    let text = std::fs::read(file).map_err(|error| failed(&error))?;
    let document = Document::parse(text.clone()).map_err(|error| failed(&error))?;
    Ok((text, document))
}

fn recorded(file: &Path, args: &RequestArgs) -> Result<Sample> {
    let failed =
        |error: &dyn std::fmt::Display| CliError::new(format!("--request {}: {error}", file.display()));
    let (text, document) = read("--request", file)?;
    let has = |member| document.get(member).is_some();
    let endpoint = match args.endpoint {
        Some(endpoint) => endpoint,
        None if has("/messages") => Endpoint::ChatCompletions,
        None if has("/prompt") => Endpoint::Completions,
        None if has("/input") && (has("/instructions") || has("/max_output_tokens")) => Endpoint::Responses,
        None if has("/input") => Endpoint::Embeddings,
        None => {
            return Err(failed(
                &"the body has no `messages`, `prompt` or `input`, so its endpoint is unknown; name it with --endpoint",
            ));
        }
    };
    if args.stream && !endpoint.streams() {
        let why = format!("`{endpoint}` never streams; name another endpoint with --endpoint");
        return Err(failed(&why));
    }
    let request = Request::new(endpoint, text).map_err(|error| failed(&error))?;
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    Ok(Sample { name, endpoint, request: with_sender(request, args)? })
}

/// Adds the headers and the user of the arguments to a request.
fn with_sender(request: Request, args: &RequestArgs) -> Result<Request> {
    let mut headers = HeaderMap::new();
    for header in &args.headers {
        let failed = |why: &str| CliError::new(format!("--header {header:?}: {why}"));
        let (name, value) =
            header.split_once(':').ok_or_else(|| failed("a header is written as NAME: VALUE"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| failed("the name is not valid"))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| failed("the value is not valid"))?;
        headers.append(name, value);
    }
    let identity = args.user.clone().map(|user| {
        let key_id = "try".to_owned();
        Identity { key_id, user: Some(user), team: None }.into()
    });
    // A fixed id, so that two runs can be compared.
    Ok(request.with_headers(headers).with_identity(identity).with_request_id("try"))
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
