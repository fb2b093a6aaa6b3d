//! `llmux plugin try` and `llmux plugin bench`: their flags and help, which `cli` hangs into its tree.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use llmux_core::Endpoint;
use serde_json::Value;

/// Run a library on sample requests, without a server, and show what it did to them
#[derive(Args)]
#[command(after_help = "Examples:
  llmux plugin try target/release/libmine.so
  llmux plugin try ./libmine.so --config '{\"prompt\": \"Be brief.\"}' --stream
  llmux plugin try ./libmine.so --request question.json --response answer.json
  llmux plugin try ./libmine.so --sample chat --times 2 --json

The library passes every check of a load and runs in the real pipeline, before a provider that repeats what it is asked
(a model named `echo-request` answers with the body that reached it, `echo-error-503` with that error). Its file and
folder may be writable by others, with a note: a server refuses that.

FILE of --request is the body of a request. FILE of --response is the body of a response, an array of chunks, or
{\"status\": 503, \"error\": {\"message\": \"down\"}}.

Exit code 0: it ran, whatever it answered. 1: it could not be loaded, or one of its hooks failed.")]
pub(crate) struct Try {
    #[command(flatten)]
    pub(crate) plugin: Library,
    #[command(flatten)]
    pub(crate) question: Question,
    /// The provider's answer, in a file, in the place of a repetition of the question
    #[arg(long, value_name = "FILE")]
    pub(crate) response: Option<PathBuf>,
    /// Send each request so often, one after the other: for a cache, a limit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) times: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure what a library's hooks cost, next to a plugin that does nothing
#[derive(Args)]
#[command(after_help = "Examples:
  llmux plugin bench target/release/libmine.so
  llmux plugin bench ./libmine.so -n 100000 --config '{\"prompt\": \"Be brief.\"}'
  llmux plugin bench ./libmine.so --stream --json

The two plugins take turns, request by request, each in a pipeline of its own, with logging off. Bytes are what a hook
read out of requests, responses and chunks, and what it wrote. Measure a release build, on a machine that is idle.")]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) plugin: Library,
    #[command(flatten)]
    pub(crate) question: Question,
    /// How many requests to measure; a tenth of it more warms up
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) requests: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Library {
    /// The library
    pub(crate) file: PathBuf,
    /// Its configuration, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json, default_value = "{}")]
    pub(crate) config: Value,
    /// How long a hook may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    pub(crate) timeout: Duration,
}

#[derive(Args)]
pub(crate) struct Question {
    /// A built-in request (repeatable) [default: all of them, or the first to measure]
    #[arg(long, value_name = "NAME", value_enum, conflicts_with = "request")]
    pub(crate) sample: Vec<SampleName>,
    /// A request's body, JSON in a file
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// The endpoint of --request [default: by its members]
    #[arg(long, value_name = "PATH", value_parser = endpoint, requires = "request")]
    pub(crate) endpoint: Option<Endpoint>,
    /// A header of the request (repeatable)
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The user that the request is from
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Another model that the provider serves, beside those that the request and the configuration name (repeatable)
    #[arg(long = "model", value_name = "NAME")]
    pub(crate) models: Vec<String>,
    /// Ask for a stream
    #[arg(long)]
    pub(crate) stream: bool,
}

/// The built-in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SampleName {
    /// One question
    Chat,
    /// A system prompt, turns, parameters, an email address, phone and card numbers
    Conversation,
    /// A question whose answer shall be JSON
    Json,
    /// Two texts for embeddings, which never stream
    Embeddings,
}

pub(crate) fn json(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("a configuration is a JSON object".to_owned()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned());
    let time = seconds.map(Duration::try_from_secs_f64)?.map_err(|error| error.to_string())?;
    match time.as_secs_f64() {
        0.0 => Err("a hook needs some time".to_owned()),
        // A request is waited for no longer than a minute.
        50.0.. => Err("at most 50 seconds".to_owned()),
        _ => Ok(time),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|()| {
        let known = Endpoint::ALL.map(Endpoint::path).join(", ");
        format!("the endpoints are {known}")
    })
}
