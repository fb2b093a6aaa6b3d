//! Long strings of an answer in members that this host does not know as texts (rule T1). Such a string could be a text that
//! passes a guard.

use serde_json::Value;

use super::{event, places};
use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
};

/// The longest string that is no text, in bytes.
const MAX: usize = 64;

/// Checks an answer that does not stream, or a chunk of a stream.
///
/// # Errors
///
/// If a delta, a message or an output item has a longer string that is no text. The error names its place.
pub(crate) fn check(document: &Document, endpoint: Endpoint) -> Result<(), Error> {
    let mut known: Vec<String> =
        places::of_answer(document, endpoint).into_iter().map(|place| place.pointer).collect();
    let roots = match endpoint {
        Endpoint::ChatCompletions => {
            known.extend(places::of_chunk(document).into_iter().map(|place| place.pointer));
            let choices = 0..document.len("/choices").unwrap_or_default();
            choices
                .flat_map(|at| ["message", "delta"].map(|member| format!("/choices/{at}/{member}")))
                .collect()
        }
        Endpoint::Responses | Endpoint::ResponseRetrieval | Endpoint::ResponseCancellation => {
            known.extend(event::texts(document).into_iter().map(|place| place.pointer));
            ["/output", "/delta", "/part", "/item", "/response/output"].map(str::to_owned).to_vec()
        }
        _ => Vec::new(),
    };
    for root in roots {
        let value = document.get(&root).and_then(|json| serde_json::from_str(json).ok());
        if let Some(place) = value.and_then(|value| long(&value, root, &known)) {
            let message =
                format!("the provider's answer has a text in a member that no text hook receives: `{place}`");
            return Err(Error::new(ErrorKind::BadGateway, message));
        }
    }
    Ok(())
}

/// Returns the place of a long string that is not known.
fn long(value: &Value, place: String, known: &[String]) -> Option<String> {
    match value {
        Value::String(text) => Some(place).filter(|place| text.len() > MAX && !known.contains(place)),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .find_map(|(at, element)| long(element, format!("{place}/{at}"), known)),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            long(member, format!("{place}/{name}"), known)
        }),
        _ => None,
    }
}
