//! The messages between the host and the child process of an instance.
//!
//! `lend` and `apply` use them in the host, `rebuild` and `collect` in the child. A message is the payload of a frame
//! (`frame`), whose head has the kind and the number of the call. The texts and bytes of a message are borrowed from its
//! frame. Both ends are one program, so that the format has no versions. Deliberately absent: any trust in the content.
//! `apply` checks all that a child sends.

mod context;
mod services;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::document::Outline;

pub(super) use self::context::{Collected, Context, Deployment, Headers, Identity, Value};
pub(super) use self::services::{Fetch, Fetched, Log, Metric, MetricKind, Record};

/// Reads a message.
///
/// # Errors
///
/// If the bytes are no such message, or if bytes follow it.
pub(super) fn decode<'m, T: Deserialize<'m>>(payload: &'m [u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed),
    }
}

/// Bytes that are not the expected message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first message to a child: the private copy that it will map, and its rights. The reply is a `sandbox::Report`.
#[derive(Serialize, Deserialize)]
pub(super) struct Restrict<'a> {
    #[serde(with = "serde_bytes")]
    pub(super) copy: &'a [u8],
    /// Path of the file for large bodies; empty if there is none.
    #[serde(with = "serde_bytes")]
    pub(super) bodies: &'a [u8],
    /// Paths, as the system writes them.
    #[serde(borrow)]
    pub(super) read: Vec<&'a serde_bytes::Bytes>,
    #[serde(borrow)]
    pub(super) write: Vec<&'a serde_bytes::Bytes>,
    pub(super) network: bool,
    pub(super) processes: bool,
    pub(super) memory: Option<u64>,
    pub(super) files: Option<u64>,
    /// True if the child takes its time from the host.
    pub(super) is_paused: bool,
}

/// The library to load, and the levels of the log that the host takes.
#[derive(Serialize, Deserialize)]
pub(super) struct Load<'a> {
    /// Name of the instance.
    pub(super) name: &'a str,
    /// The file that the copy was made of, for `library_dir`.
    pub(super) library: &'a str,
    /// Name of the library's entry.
    pub(super) entry: &'a str,
    /// Version of the contract that the manifest states.
    pub(super) abi: &'a str,
    /// The highest level of a log record that the host takes; 0 for none.
    pub(super) log_level: u32,
}

/// The reply to [`Load`].
#[derive(Serialize, Deserialize)]
pub(super) enum Loaded<'a> {
    /// The schema of the configuration, or the failure that the plugin gave in its place.
    Schema(Result<&'a str, &'a str>),
    Dlopen(&'a str),
    NoEntry(&'a str),
    Layout(&'a str),
}

/// The reply to the configuration of an instance: its hooks, or why there is none.
pub(super) type Created<'a> = Result<u16, &'a str>;

/// The reply to a cleanup.
pub(super) type CleanedUp<'a> = Result<(), Failure<'a>>;

/// One call of a hook.
#[derive(Serialize, Deserialize)]
pub(super) struct Call<'a> {
    /// Number of the state that the instance keeps for the request.
    pub(super) state: u64,
    /// The hook, as its place in `HookKind::ALL`.
    pub(super) hook: u8,
    /// Number of the call before this one, if it must have let its chunk go on and have set nothing; otherwise 0. If it did
    /// more, this call does not run, and its reply is empty.
    pub(super) after: u64,
    /// Time that the call may take, in microseconds.
    pub(super) remaining: u64,
    /// The context; `None` if it is the one that the child has kept from an earlier call of the request.
    #[serde(borrow)]
    pub(super) context: Option<Box<Context<'a>>>,
    /// The values and headers that plugins have set, if there are any.
    #[serde(borrow)]
    pub(super) collected: Option<Box<Collected<'a>>>,
    #[serde(borrow)]
    pub(super) subject: Subject<'a>,
}

/// The text of a document: a part of the message, or of the memory for large bodies.
#[derive(Serialize, Deserialize)]
pub(super) enum Part<'a> {
    Here(#[serde(with = "serde_bytes")] &'a [u8]),
    Placed {
        start: usize,
        length: usize,
        /// The places of the top level, if the host has them: the text is then not parsed again.
        outline: Option<Cow<'a, Outline>>,
    },
}

/// A body, and the size up to which it may be edited; `None` if it may only be read.
#[derive(Serialize, Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) text: Part<'a>,
    pub(super) limit: Option<u64>,
}

/// The subject of a hook.
#[derive(Serialize, Deserialize)]
pub(super) enum Subject<'a> {
    #[serde(borrow)]
    Request(Body<'a>),
    #[serde(borrow)]
    Outcome(Outcome<'a>),
    Chunk {
        event: Option<&'a str>,
        #[serde(borrow)]
        body: Body<'a>,
    },
    #[serde(borrow)]
    Report(Box<Report<'a>>),
    #[serde(borrow)]
    Text(Text<'a>),
    #[serde(borrow)]
    ToolCall(ToolCall<'a>),
}

/// A text of a request or an answer.
#[derive(Serialize, Deserialize)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) role: &'a str,
    pub(super) tool: &'a str,
    pub(super) is_answer: bool,
    /// The channel, as its place in `Channel::ALL`.
    pub(super) channel: u8,
    pub(super) choice: u32,
    pub(super) number: u32,
    pub(super) is_end: bool,
}

/// A tool call of an answer.
#[derive(Serialize, Deserialize)]
pub(super) struct ToolCall<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
    pub(super) choice: u32,
    pub(super) is_json: bool,
}

/// The part of a text that a hook holds.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Hold {
    Nothing,
    From(u64),
    Whole,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Outcome<'a> {
    pub(super) is_error: bool,
    /// True for the failure of a plugin, which no hook changes.
    pub(super) is_plugin_failure: bool,
    pub(super) is_binary: bool,
    #[serde(borrow)]
    pub(super) body: Body<'a>,
    /// The size up to which a replacement may be edited.
    pub(super) limit: u64,
    #[serde(borrow)]
    pub(super) request: Part<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Report<'a> {
    pub(super) ending: u8,
    pub(super) status: u16,
    /// Microseconds, as is `first_chunk`.
    pub(super) latency: u64,
    pub(super) first_chunk: Option<u64>,
    pub(super) chunks: Option<u64>,
    pub(super) is_unfinished: bool,
    pub(super) usage: Option<Usage>,
    #[serde(borrow)]
    pub(super) answered_by: AnsweredBy<'a>,
    #[serde(borrow)]
    pub(super) attempts: Vec<Attempt<'a>>,
    #[serde(borrow)]
    pub(super) request: Part<'a>,
    #[serde(borrow)]
    pub(super) response: Option<Part<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<Part<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum AnsweredBy<'a> {
    Host,
    Provider,
    Instance { name: &'a str, cached: bool },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Attempt<'a> {
    #[serde(borrow)]
    pub(super) deployment: Deployment<'a>,
    pub(super) status: u16,
    pub(super) usage: Option<Usage>,
    pub(super) cancelled_by: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) total: u64,
    pub(super) is_estimated: bool,
}

/// The reply to a [`Call`].
#[derive(Serialize, Deserialize)]
pub(super) struct Reply<'a> {
    pub(super) decision: Decision,
    /// True if the instance keeps a state of the request now.
    pub(super) keeps_state: bool,
    /// Nanoseconds of the longest poll of the hook.
    pub(super) longest_poll: u64,
    /// Bytes of JSON that the plugin has read from the documents, and written into them.
    pub(super) traffic: (u64, u64),
    /// `None` if the hook gave and changed nothing.
    #[serde(borrow)]
    pub(super) effects: Option<Box<Effects<'a>>>,
}

/// The answers of a hook, and its changes.
#[derive(Serialize, Deserialize)]
pub(super) struct Effects<'a> {
    #[serde(borrow)]
    pub(super) answer: Answer<'a>,
    pub(super) cached: bool,
    #[serde(borrow)]
    pub(super) metadata: Vec<(&'a str, Value<'a>)>,
    #[serde(borrow)]
    pub(super) emitted: Vec<Event<'a>>,
    /// The text in the place of the one that the hook received.
    pub(super) text: Option<&'a str>,
    pub(super) hold: Hold,
    /// The name and the arguments in the place of those of the tool call that the hook received.
    pub(super) tool_call: Option<(&'a str, &'a str)>,
    #[serde(borrow)]
    pub(super) failure: Option<Failure<'a>>,
    /// Bytes of JSON that the plugin has given in the reply.
    pub(super) written: u64,
    #[serde(borrow)]
    pub(super) collected: Collected<'a>,
    #[serde(borrow)]
    pub(super) change: Change<'a>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Decision {
    Continue,
    ShortCircuit,
    Drop,
    Replace,
    End,
    Fail(u32),
}

/// An answer of a hook. JSON texts are not yet checked.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer<'a> {
    None,
    Response(&'a str),
    /// A stream of chunks. Its number is that of the call.
    Stream,
    Error(&'a str, bool),
    End(&'a str),
}

/// An event of a stream.
#[derive(Serialize, Deserialize)]
pub(super) struct Event<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) data: &'a str,
}

/// The failure of a hook. `is_panic` distinguishes a panic from an error.
#[derive(Serialize, Deserialize)]
pub(super) struct Failure<'a> {
    pub(super) is_panic: bool,
    pub(super) message: &'a str,
}

/// The change that a call has made to its subject.
#[derive(Serialize, Deserialize)]
pub(super) enum Change<'a> {
    None,
    /// The edits, in their order.
    #[serde(borrow)]
    Edits(Vec<Edit<'a>>),
    /// The whole document, where the edits would be longer.
    Whole(&'a str),
    /// Another response or error in the place of the outcome.
    Replaced {
        is_error: bool,
        json: &'a str,
    },
}

/// An edit of a document, as the plugin made it.
#[derive(Serialize, Deserialize)]
pub(super) enum Edit<'a> {
    Set(&'a str, &'a str),
    Insert(&'a str, &'a str),
    Remove(&'a str),
}

/// The reply to the request for the next chunk of a plugin's stream.
#[derive(Serialize, Deserialize)]
pub(super) enum Next<'a> {
    #[serde(borrow)]
    Chunk(Event<'a>),
    End,
    /// The plugin ended the stream with this error.
    Ended(&'a str),
    #[serde(borrow)]
    Failed(Failure<'a>),
}
