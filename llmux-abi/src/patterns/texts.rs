//! Patterns in the texts of a text hook.
//!
//! Deliberately absent: the search, and the held text, which the host keeps.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    matching::Matching,
    replacement::{Match, Replacement},
    set::Patterns,
};
use crate::{Result, Text, TextFlow};

/// The searches in the texts of one answer, for the state of a request.
#[derive(Debug, Default)]
pub struct Matchings(BTreeMap<u32, Matching>);

impl Text<'_> {
    /// Replaces the matches of patterns, and holds the end of the text that can still become a match. For every split of a text
    /// into pieces, the text that goes on is the same. `replace` is called once for each match, in order.
    ///
    /// ```
    /// # use llmux_abi::{patterns::{Matchings, Patterns}, prelude::*};
    /// # struct Mask { keys: Patterns }
    /// # impl Plugin for Mask {
    /// #     type Config = NoConfig;
    /// #     fn new(_: NoConfig, _: Host) -> Result<Self> {
    /// #         Ok(Self { keys: Patterns::new([("key", r"\bsk-[A-Za-z0-9]{20,}\b")])? })
    /// #     }
    /// async fn on_text(&self, ctx: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
    ///     text.replace_matches(&self.keys, ctx.state::<Matchings>(), |_| "[key]")
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    ///
    /// If `replace` refuses a match, the result is [`TextFlow::End`] with its error.
    ///
    /// # Errors
    ///
    /// If more than [`Patterns::with_max_held`] bytes could still become a match.
    pub fn replace_matches<R: Into<Replacement>>(
        &mut self,
        patterns: &Patterns,
        matchings: &mut Matchings,
        mut replace: impl FnMut(&Match<'_>) -> R,
    ) -> Result<TextFlow> {
        let mut refused = None;
        let decide = |found: &Match<'_>| match replace(found).into() {
            Replacement::Refuse(error) => {
                refused = Some(error.clone());
                Replacement::Refuse(error)
            }
            replacement => replacement,
        };
        let mut matching = matchings.0.remove(&self.number()).unwrap_or_default();
        let edited = match matching.edit(patterns, self.as_str(), self.is_end(), decide) {
            Ok(edited) => edited,
            Err(error) => return refused.map_or(Err(error), |refusal| Ok(TextFlow::End(refusal))),
        };
        let held_from = edited.held_from;
        if let Cow::Owned(text) = edited.text {
            self.set(text);
        }
        if !self.is_end() {
            matchings.0.insert(self.number(), matching);
            if held_from < self.len() {
                self.hold_from(held_from);
            }
        }
        Ok(TextFlow::Continue)
    }
}
