//! The texts of a whole body: a request, or an answer that does not stream.

use std::borrow::Cow;

use super::{
    places::{self, Place},
    subject::{Side, Text},
    verdict,
};
use crate::pipeline::{
    body::Body,
    kind::HookKind,
    outcome::Outcome,
    turn::{Stop, Turn},
};

/// Passes the texts of a request to an instance, which edits the body.
pub(crate) async fn request(turn: &mut Turn<'_>, body: &mut Body) -> Result<(), Stop> {
    let Some(document) = body.document().cloned() else { return Ok(()) };
    let places = places::of_request(&document, turn.context.endpoint);
    pass(turn, Side::Request, places, body).await
}

/// Passes the texts of an answer to an instance, which edits the outcome. An error has no texts.
pub(crate) async fn answer(turn: &mut Turn<'_>, outcome: &mut Outcome) -> Result<(), Stop> {
    if outcome.is_error() || outcome.is_binary() {
        return Ok(());
    }
    let Some(document) = outcome.body().document().cloned() else { return Ok(()) };
    let places = places::of_answer(&document, turn.context.endpoint);
    pass(turn, Side::Answer, places, outcome.body()).await
}

async fn pass(turn: &mut Turn<'_>, side: Side, places: Vec<Place<'_>>, body: &mut Body) -> Result<(), Stop> {
    for (number, place) in (0..).zip(places) {
        let mut text = Text {
            text: Cow::Borrowed(place.text),
            role: Cow::Borrowed(place.role),
            tool: Cow::Borrowed(place.tool),
            side,
            channel: place.channel,
            choice: place.key.choice,
            number,
            is_end: true,
            room: 0,
        };
        let verdict = verdict::call(turn, &mut text).await?;
        if let Some(edited) = verdict.text.filter(|edited| *edited != place.text) {
            let json = serde_json::Value::from(edited).to_string();
            let set = body.edit(json.len(), |document| {
                document.set(&place.pointer, &json)?;
                match &place.probabilities {
                    Some((pointer, empty)) => document.set(pointer, empty),
                    None => Ok(()),
                }
            });
            if set.is_err() {
                body.roll_back();
                turn.refuse(HookKind::Text, "the edited text makes the body too large")?;
            }
            body.commit();
        }
    }
    Ok(())
}
