//! Masks emails, phone numbers and card numbers in requests, and puts them back into the answers.
//!
//! The provider reads `[EMAIL_1]` where the caller wrote an address; the caller reads the address again. In a
//! stream a placeholder may be cut by a chunk's border: the end of a text that could be the beginning of one is
//! withheld until the next chunk, or the end, tells. Fails closed: if it cannot mask, nothing is sent.
//!
//! Not covered: the arguments of tool calls in streams pass as the provider wrote them.
use llmux_abi::{prelude::*, types::text_chunk};
use masks::Masks;
use serde_json::Value as Json;

/// The members whose strings are somebody's words; images and identifiers are none of our business.
const WORDS: [&str; 6] = ["content", "text", "arguments", "input", "prompt", "instructions"];

/// Masks what is personal.
pub struct PiiRedact;

impl Plugin for PiiRedact {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let masks = ctx.state::<Masks>();
        edit(request, &WORDS, |text| masks.mask(text))?;
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        let masks = ctx.state::<Masks>();
        match outcome.response() {
            Some(mut response) if !masks.is_empty() => edit(&mut response, &[], |text| masks.restore(text)),
            _ => Ok(()),
        }
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        let masks = ctx.state::<Masks>();
        if masks.is_empty() {
            return Ok(ChunkFlow::Forward);
        }
        match chunk.len("/choices") {
            Some(choices) => {
                for at in 0..choices {
                    let choice = chunk.get(&format!("/choices/{at}/index")).unwrap_or(0);
                    let ends = chunk.get_str(&format!("/choices/{at}/finish_reason")).is_some();
                    let is_chat = chunk.text(&format!("/choices/{at}/delta")).is_some();
                    let place = format!("/choices/{at}/{}", if is_chat { "delta/content" } else { "text" });
                    let text = chunk.get_str(&place).unwrap_or_default();
                    let restored = masks.restore_piece(choice, text, ends);
                    if restored != text {
                        chunk.set(&place, restored)?;
                    }
                }
            }
            None if chunk.get_str("/type") == Some("response.output_text.delta") => {
                let restored = masks.restore_piece(0, chunk.delta().unwrap_or_default(), false);
                chunk.set_delta(&restored)?;
            }
            None => {
                // The responses endpoint says at the end all that its deltas said.
                masks.take_held();
                edit(chunk, &[], |text| masks.restore(text))?;
            }
        }
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, ctx: &mut Context<'_>, end: &mut StreamEnd<'_>) -> Result<()> {
        // Left only where no choice said that it ended.
        for (choice, text) in ctx.state::<Masks>().take_held() {
            let mut chunk = text_chunk(&text);
            chunk["choices"][0]["index"] = choice.into();
            end.emit(chunk)?;
        }
        Ok(())
    }
}

/// Edits the strings of a document: those of these members, or all of them for none.
fn edit(document: &mut Document<'_>, members: &[&str], mut edit: impl FnMut(&str) -> String) -> Result<()> {
    let mut todo = vec![(String::new(), members.is_empty(), document.parse()?)];
    while let Some((pointer, is_text, value)) = todo.pop() {
        match value {
            Json::String(text) if is_text => {
                let edited = edit(&text);
                if edited != text {
                    document.set(&pointer, edited)?;
                }
            }
            Json::Array(elements) => {
                todo.extend(
                    elements
                        .into_iter()
                        .enumerate()
                        .rev()
                        .map(|(at, element)| (format!("{pointer}/{at}"), is_text, element)),
                );
            }
            Json::Object(object) => todo.extend(object.into_iter().map(|(name, value)| {
                let is_text = members.is_empty() || members.contains(&name.as_str());
                (format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), is_text, value)
            })),
            _ => {}
        }
    }
    Ok(())
}

#[path = "pii_redact/masks.rs"]
mod masks;
#[path = "pii_redact/patterns.rs"]
mod patterns;

export_plugin!(PiiRedact, name: "pii-redact", priority: 20, on_error: Some(OnError::Fail));
