//! Arguments of `llmux plugin new`, `llmux plugin try` and `llmux plugin bench`: their flags and help.
//!
//! The program's command line contains them. The three commands read them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use llmux_core::Endpoint;
use llmux_terminal::json_object;
use serde_json::Value;

/// Create the crate of a plugin, with a test, in a new folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmux plugin new my-plugin
  llmux plugin new my-plugin --description 'Masks phone numbers' --llmux ../llmux

The crate depends on llmux-abi, and its tests on llmux-core and llmux-testing. --llmux names their place: the folder of
LLMux's sources, a git URL, or a version on crates.io. The default is the version of a released `llmux`; for any other
`llmux` it is the git repository.")]
pub struct NewArgs {
    /// Name of the plugin, of its crate and of the folder: words of a-z and 0-9 with `-` between them
    pub(crate) name: String,
    /// Description in one line
    #[arg(long, value_name = "TEXT", default_value = "Signs every answer")]
    pub(crate) description: String,
    /// Place of LLMux's crates [default: see below]
    #[arg(long, value_name = "FOLDER|GIT-URL|VERSION")]
    pub(crate) llmux: Option<String>,
}

/// Run a library on sample requests, without a server, and show what it did to them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmux plugin try target/release/libmine.so
  llmux plugin try ./libmine.so --config '{\"prompt\": \"Be brief.\"}' --stream
  llmux plugin try ./libmine.so --request question.json --response answer.json
  llmux plugin try ./libmine.so --sample chat --times 2 --json
  llmux plugin try ./libmine.so --stream --split every

The library passes every check of a load and runs in the real pipeline. The provider repeats the question; a model
named `echo-request` answers with the body that reached the provider, and `echo-error-503` with that error. The file
and its folder may be writable by others: the command notes it, and a server would refuse the library.

FILE of --request is the body of a request. FILE of --response is the body of a response, an array of chunks, or
{\"status\": 503, \"error\": {\"message\": \"down\"}}.

--split every cuts each text of the streamed answer into two chunks, at every character, and once into its characters.
Then the client must read the same each time: texts, tool calls, reasons of the end, and the error. Before an error, it may
have read a beginning of the text.

Exit code 0: the library ran, whatever it answered. 1: it could not be loaded, one of its hooks failed, or a client reads
something else at one of the splits.")]
pub struct TryArgs {
    #[command(flatten)]
    pub(crate) plugin: LibraryArgs,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// The provider's answer, in a file, instead of a repetition of the question
    #[arg(long, value_name = "FILE")]
    pub(crate) response: Option<PathBuf>,
    /// Send each request N times, one after the other: for a cache or a limit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) times: u32,
    /// Send each request again for every split of the streamed answer, and compare what the client reads
    #[arg(long, value_name = "HOW", value_enum, requires = "stream", conflicts_with = "times")]
    pub(crate) split: Option<SplitMode>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure what a library's hooks cost, next to a plugin that does nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmux plugin bench target/release/libmine.so
  llmux plugin bench ./libmine.so -n 100000 --config '{\"prompt\": \"Be brief.\"}'
  llmux plugin bench ./libmine.so --stream --json
  llmux plugin bench ./libmine.so --isolated

The two plugins take turns, request by request, each in a pipeline of its own, with logging off. Bytes are what a hook
read from requests, responses and chunks, and what it wrote. Measure a release build, on an idle machine.")]
pub struct BenchArgs {
    #[command(flatten)]
    pub(crate) plugin: LibraryArgs,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// Number of requests to measure; a tenth of it, in addition, warms up
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) requests: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The library on trial.
#[derive(Debug, Args)]
pub(crate) struct LibraryArgs {
    /// The library
    pub(crate) file: PathBuf,
    /// Its configuration, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_object, default_value = "{}")]
    pub(crate) config: Value,
    /// Timeout of a hook, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    pub(crate) timeout: Duration,
    /// Run it in a child process: alone for `try`, beside the library in this process for `bench` (Linux)
    #[arg(long)]
    pub(crate) isolated: bool,
}

/// The requests to send.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// A built-in request (repeatable) [default: all of them; for a measurement, the first]
    #[arg(long = "sample", value_name = "NAME", value_enum, conflicts_with = "request")]
    pub(crate) samples: Vec<SampleName>,
    /// A request's body, JSON in a file
    #[arg(long = "request", id = "request", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The endpoint of --request [default: by its members]
    #[arg(long, value_name = "PATH", value_parser = endpoint, requires = "request")]
    pub(crate) endpoint: Option<Endpoint>,
    /// A header of the request (repeatable)
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The user who sends the request
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Another model that the provider serves, besides those that the request and the configuration name (repeatable)
    #[arg(long = "model", value_name = "NAME")]
    pub(crate) models: Vec<String>,
    /// Ask for a stream
    #[arg(long)]
    pub(crate) stream: bool,
}

/// The splits of a streamed answer to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitMode {
    /// Each text in two chunks, at every character, and once in its characters
    Every,
}

/// The built-in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SampleName {
    /// One question
    Chat,
    /// A system prompt, turns, parameters, an email address, phone and card numbers
    Conversation,
    /// A question that asks for JSON
    Json,
    /// Two texts for embeddings, which never stream
    Embeddings,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned());
    let time = seconds.map(Duration::try_from_secs_f64)?.map_err(|error| error.to_string())?;
    match time.as_secs_f64() {
        0.0 => Err("a timeout is longer than 0 seconds".to_owned()),
        // The harness waits at most a minute for a request.
        50.0.. => Err("a timeout is shorter than 50 seconds".to_owned()),
        _ => Ok(time),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|()| {
        let known = Endpoint::ALL.map(Endpoint::path).join(", ");
        format!("the endpoints are {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_more_than_0_and_less_than_50_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "50", "-1", "NaN", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
