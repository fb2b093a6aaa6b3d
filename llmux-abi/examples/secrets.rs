//! Masks keys and tokens in requests and answers, plain and streamed. Fails closed.
//!
//! Text is held only while it can still become a key. Needs the feature `patterns`.
use llmux_abi::{
    patterns::{Matchings, Patterns},
    prelude::*,
};

/// Kinds of keys, and their forms. A text that holds more than 16 KiB fails, which bounds each `+` and `*`.
const KEYS: [(&str, &str); 5] = [
    ("api key", r"\bsk-[A-Za-z0-9_-]{20,}"),
    ("AWS access key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    ("token", r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
    ("private key", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]+-----END"),
];

/// The plugin.
pub struct Secrets {
    keys: Patterns,
}

impl Plugin for Secrets {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self { keys: Patterns::new(KEYS)? })
    }

    async fn on_text(&self, ctx: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        text.replace_matches(&self.keys, ctx.state::<Matchings>(), |found| format!("[{}]", found.name()))
    }
}

export_plugin!(Secrets, name: "secrets", priority: 15, on_error: Some(OnError::Fail));
