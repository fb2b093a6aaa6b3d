//! The kinds of hooks, and the ways in which a hook fails.

/// A point where a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HookKind {
    /// `pre_hook`: before the provider.
    Pre,
    /// `post_hook`: after the provider.
    Post,
    /// `pre_stream_hook`: before the provider, if the request streams.
    PreStream,
    /// `on_stream_chunk`: for each chunk of a stream.
    Chunk,
    /// `post_stream_hook`: at the end of a stream.
    PostStream,
    /// `on_complete`: after the caller has the answer.
    Complete,
    /// `cleanup`: at the end of the instance.
    Cleanup,
    /// `on_text`: for each text of a request and of an answer.
    Text,
    /// `on_tool_call`: for each tool call of an answer.
    ToolCall,
    /// `beside`: while the provider is called.
    Beside,
}

impl HookKind {
    /// All hooks.
    pub const ALL: [HookKind; 10] = [
        HookKind::Pre,
        HookKind::Post,
        HookKind::PreStream,
        HookKind::Chunk,
        HookKind::PostStream,
        HookKind::Complete,
        HookKind::Cleanup,
        HookKind::Text,
        HookKind::ToolCall,
        HookKind::Beside,
    ];

    /// Returns the hook's name, as in the plugin's trait.
    pub fn as_str(self) -> &'static str {
        match self {
            HookKind::Pre => "pre_hook",
            HookKind::Post => "post_hook",
            HookKind::PreStream => "pre_stream_hook",
            HookKind::Chunk => "on_stream_chunk",
            HookKind::PostStream => "post_stream_hook",
            HookKind::Complete => "on_complete",
            HookKind::Cleanup => "cleanup",
            HookKind::Text => "on_text",
            HookKind::ToolCall => "on_tool_call",
            HookKind::Beside => "beside",
        }
    }
}

/// A set of hooks.
#[derive(Clone, Copy, Default)]
pub(crate) struct HookSet(u16);

impl HookSet {
    pub(crate) fn has(self, hook: HookKind) -> bool {
        self.0 & 1 << hook as u8 != 0
    }

    /// Returns the set as a number: the bit of each hook, by its place in [`HookKind::ALL`].
    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// Returns the set of a number. Bits that stand for no hook are ignored.
    pub(crate) fn from_bits(bits: u16) -> Self {
        HookKind::ALL.into_iter().filter(|hook| Self(bits).has(*hook)).collect()
    }
}

impl FromIterator<HookKind> for HookSet {
    fn from_iter<I: IntoIterator<Item = HookKind>>(hooks: I) -> Self {
        Self(hooks.into_iter().fold(0, |set, hook| set | 1 << hook as u8))
    }
}

/// A plugin's own failure (rules E1 to E5), as opposed to an error of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Error, message: message.into() }
    }

    /// The failure of a call whose instance died, or has died before (rule I3).
    pub(crate) fn crashed(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Crashed, message: message.into() }
    }
}

/// The way in which a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It returned an error, or a reply that the hook does not allow.
    Error,
    /// It panicked.
    Panic,
    /// It ran past its timeout.
    Timeout,
    /// The child process of the instance died, or none runs (rule I3).
    Crashed,
    /// The caller went away while the hook waited. This is not counted as a failure of the plugin.
    Cancelled,
}

impl FailureKind {
    /// Returns the kind's name in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            FailureKind::Error => "error",
            FailureKind::Panic => "panic",
            FailureKind::Timeout => "timeout",
            FailureKind::Crashed => "crashed",
            FailureKind::Cancelled => "cancelled",
        }
    }
}
