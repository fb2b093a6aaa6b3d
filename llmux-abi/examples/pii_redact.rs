//! Masks emails, phone numbers and card numbers in requests, and restores them in the answers. The provider
//! receives `[EMAIL_1]` instead of an address; the client receives the address. Fails closed.
use std::{collections::HashMap, iter::successors, sync::LazyLock};

use llmux_abi::prelude::*;
use regex::Regex;

/// The texts to mask, with a group for each kind. `TEXT` is text of the client that looks like a placeholder.
static PERSONAL: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = r"(?x-u)
        (?<EMAIL> [A-Za-z0-9._%+-]+ @ (?: [A-Za-z0-9-]+ \. )+ [A-Za-z0-9-]* [A-Za-z0-9]{2} \b )
      | (?<PHONE> \+ [0-9] (?: [\ .()-]{0,2} [0-9] ){7,14} \b | (?: \b 1 [\ .-]? )?
                  (?: \( [0-9]{3} \) | \b [0-9]{3} ) [\ .-]{1,2} [0-9]{3} [\ .-] [0-9]{4} \b )
      | (?<CARD> \b [3-6] (?: [\ .-]{0,2} [0-9] ){12,18} \b )  |  (?<TEXT> \[ [A-Z]+ _ [0-9]+ \] )";
    Regex::new(kinds).expect("a pattern")
});

/// The plugin.
pub struct PiiRedact;

impl Plugin for PiiRedact {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn on_text(&self, ctx: &mut Context<'_>, text: &mut Text<'_>) -> Result<TextFlow> {
        // The placeholder of each masked text of this request. Equal texts have one placeholder.
        let masks = ctx.state::<HashMap<String, String>>();
        if text.side() == Side::Request {
            text.set(mask(text, masks));
        } else if !masks.is_empty() {
            // A piece of a stream may end in the middle of a placeholder.
            let held = text.hold_start_of(&masks.values().map(String::as_str).collect::<Vec<_>>());
            text.set(restore(&text[..held.unwrap_or(text.len())], masks));
        }
        Ok(TextFlow::Continue)
    }
}

fn mask(text: &str, masks: &mut HashMap<String, String>) -> String {
    let (mut masked, mut done, mut from) = (String::new(), 0, 0);
    while let Some(found) = PERSONAL.captures_at(text, from) {
        let kind = ["EMAIL", "PHONE", "CARD"].into_iter().find(|kind| found.name(kind).is_some());
        let (kind, found) = (kind.unwrap_or("TEXT"), found.get_match());
        let personal = if kind == "CARD" { card(found.as_str()) } else { Some(found.as_str()) };
        from = found.start() + personal.map_or(1, str::len);
        if let Some(personal) = personal {
            let mask = format!("[{kind}_{}]", masks.len() + 1);
            masked = masked + &text[done..found.start()] + masks.entry(personal.into()).or_insert(mask);
            done = from;
        }
    }
    masked + &text[done..]
}

fn restore(text: &str, masks: &HashMap<String, String>) -> String {
    let known = |part: &str| masks.iter().find(|(_, mask)| part.ends_with(*mask));
    let parts = text.split_inclusive(']');
    parts.map(|part| known(part).map_or(part.into(), |(text, mask)| part.replace(mask, text))).collect()
}

/// Returns the longest card number at the start: 13 digits or more, the last a check digit (ISO/IEC 7812-1).
fn card(text: &str) -> Option<&str> {
    let is_card = |text: &&str| {
        let digits = text.chars().rev().filter_map(|digit| digit.to_digit(10));
        let doubled = digits.clone().skip(1).step_by(2).map(|digit| digit / 5 + digit * 2 % 10);
        let sum: u32 = digits.clone().step_by(2).chain(doubled).sum();
        digits.count() >= 13 && sum.is_multiple_of(10)
    };
    successors(Some(text), |text| text.rfind([' ', '.', '-', '(', ')']).map(|at| &text[..at])).find(is_card)
}

export_plugin!(PiiRedact, name: "pii-redact", priority: 20, on_error: Some(OnError::Fail));
