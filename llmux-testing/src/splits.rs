//! Every split of a streamed answer: the same texts, cut into chunks at other places.
//!
//! The harness and `llmux plugin try --split every` send them through a plugin. Deliberately absent: the comparison of
//! what a client reads, which is `harness::every_split`'s.

use llmux_abi::convert::{Assembler, to_chunks};
use serde_json::{Map, Value, json};

/// Members of a chat delta that are texts.
const DELTA_TEXTS: [&str; 6] = [
    "/content",
    "/reasoning_content",
    "/reasoning",
    "/refusal",
    "/audio/transcript",
    "/function_call/arguments",
];

/// Members of a tool call that are texts.
const CALL_TEXTS: [&str; 2] = ["/function/arguments", "/custom/input"];

/// A streamed answer whose texts can be cut anywhere.
#[derive(Clone, Debug)]
pub struct Splits {
    /// The answer, with each text in one chunk.
    chunks: Vec<Value>,
    texts: Vec<Text>,
}

/// A text of the answer.
#[derive(Clone, Debug)]
struct Text {
    chunk: usize,
    place: Place,
    text: String,
}

/// Place of a text in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name for readers, for example `choice 0, content`. All pieces of one text have one name.
    pub(crate) name: String,
    /// JSON Pointer into the chunk.
    pub(crate) pointer: String,
}

/// One way to cut the texts of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Each text in one chunk.
    Whole,
    /// One text in two chunks: its number, and the byte at which the second chunk begins.
    At(usize, usize),
    /// Each character of each text in a chunk of its own.
    Characters,
}

impl Splits {
    /// Longest texts of an answer together, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Returns the splits of a stream that has these chunks. Beyond the texts, the chunks are those that a provider sends
    /// for the response that these chunks form.
    ///
    /// # Errors
    ///
    /// If the chunks form no response, or if its texts are empty or longer than [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn of_chunks(chunks: &[Value]) -> Result<Self, String> {
        let mut assembler = Assembler::new();
        chunks.iter().for_each(|chunk| assembler.push(chunk));
        let response =
            assembler.finish().ok_or("the chunks of the answer form no response: the stream has no end")?;
        Self::of_response(&response)
    }

    /// Returns the splits of the stream that has this response.
    ///
    /// # Errors
    ///
    /// If the texts of the response are empty or longer than [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn of_response(response: &Value) -> Result<Self, String> {
        let chunks = to_chunks(response);
        let mut texts = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            // A chunk of a converted response has one text.
            let text = texts_of(chunk).into_iter().find(|(_, text)| !text.is_empty());
            texts.extend(text.map(|(place, text)| Text { chunk: at, place, text: text.to_owned() }));
        }
        let bytes: usize = texts.iter().map(|text| text.text.len()).sum();
        match bytes {
            0 => {
                Err("the answer has no text, so there is nothing to split; give an answer with a text"
                    .to_owned())
            }
            _ if bytes > Self::MAX_BYTES => Err(format!(
                "the answer has {bytes} bytes of text, and at most {} can be split; give a shorter answer",
                Self::MAX_BYTES
            )),
            _ => Ok(Self { chunks, texts }),
        }
    }

    /// Returns the number of splits: for each text one at each character, one before the first, and one behind the last;
    /// and one for all texts, with each character in a chunk of its own.
    pub fn count(&self) -> usize {
        self.cuts().count() + 1
    }

    /// Returns every cut of one text into two chunks. An empty chunk is a piece, too.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = Cut> {
        self.texts.iter().enumerate().flat_map(|(number, text)| {
            let starts = text.text.char_indices().map(|(at, _)| at).chain([text.text.len()]);
            starts.map(move |at| Cut::At(number, at))
        })
    }

    /// Returns the name of the text that is cut, and its pieces.
    pub(crate) fn pieces(&self, cut: Cut) -> Option<(&str, [&str; 2])> {
        let Cut::At(number, at) = cut else { return None };
        let text = &self.texts[number];
        let (first, second) = text.text.split_at(at);
        Some((&text.place.name, [first, second]))
    }

    /// Returns the chunks of the stream with this cut.
    pub(crate) fn chunks(&self, cut: Cut) -> Vec<Value> {
        let mut chunks = Vec::new();
        for (at, chunk) in self.chunks.iter().enumerate() {
            let text = self.texts.iter().enumerate().find(|(_, text)| text.chunk == at);
            match (text, cut) {
                (Some((number, text)), Cut::At(cut, at)) if cut == number => {
                    let (first, second) = text.text.split_at(at);
                    chunks.extend(split(chunk, &text.place.pointer, &[first.to_owned(), second.to_owned()]));
                }
                (Some((_, text)), Cut::Characters) => {
                    let characters: Vec<_> = text.text.chars().map(String::from).collect();
                    chunks.extend(split(chunk, &text.place.pointer, &characters));
                }
                _ => chunks.push(chunk.clone()),
            }
        }
        let numbered = chunks.iter_mut().filter_map(|chunk| chunk.get_mut("sequence_number"));
        numbered.enumerate().for_each(|(number, place)| *place = number.into());
        chunks
    }
}

/// Returns the texts of a chunk, each with its place.
pub(crate) fn texts_of(chunk: &Value) -> Vec<(Place, &str)> {
    let mut places = Vec::new();
    if let Some(kind) = chunk["type"].as_str().filter(|kind| kind.starts_with("response.")) {
        if kind.ends_with(".delta") {
            let number = |member: &str, name: &str| chunk[member].as_u64().map(|it| format!("{name} {it}, "));
            let part = number("content_index", "part").or_else(|| number("summary_index", "part"));
            let item = number("output_index", "output item").unwrap_or_default();
            let kind = kind.trim_start_matches("response.").trim_end_matches(".delta");
            places.push(Place {
                name: format!("{item}{}{kind}", part.unwrap_or_default()),
                pointer: "/delta".into(),
            });
        }
    } else {
        for (at, choice) in chunk["choices"].as_array().into_iter().flatten().enumerate() {
            choice_places(at, choice, &mut places);
        }
    }
    let text = |place: Place| {
        let text = chunk.pointer(&place.pointer)?.as_str()?;
        Some((place, text))
    };
    places.into_iter().filter_map(text).collect()
}

/// Adds each place at which a choice of a chunk can have a text.
fn choice_places(at: usize, choice: &Value, places: &mut Vec<Place>) {
    let choice_name = format!("choice {}", index(choice, at));
    let mut add = |name: &str, pointer: String| {
        let (_, member) = pointer.rsplit_once('/').unwrap_or_default();
        places.push(Place { name: format!("{choice_name}, {name}{member}"), pointer });
    };
    add("", format!("/choices/{at}/text"));
    for member in DELTA_TEXTS {
        add("", format!("/choices/{at}/delta{member}"));
    }
    for (number, call) in choice["delta"]["tool_calls"].as_array().into_iter().flatten().enumerate() {
        for member in CALL_TEXTS {
            let name = format!("tool call {}, ", index(call, number));
            add(&name, format!("/choices/{at}/delta/tool_calls/{number}{member}"));
        }
    }
}

/// Returns the index of an element: its member, or its position.
pub(crate) fn index(element: &Value, position: usize) -> u64 {
    element["index"].as_u64().unwrap_or(position as u64)
}

/// Returns a chunk for each piece of its text. The first one has all other members, and the last one the reason of the end.
fn split(chunk: &Value, pointer: &str, pieces: &[String]) -> Vec<Value> {
    let path: Vec<&str> = pointer.split('/').skip(1).collect();
    let rest = |text: &String| {
        let mut next = only(chunk, &path, text);
        if let (Some(next), Some(chunk)) = (next.as_object_mut(), chunk.as_object()) {
            let labels = chunk.iter().filter(|(_, value)| !value.is_object() && !value.is_array());
            for (name, value) in labels {
                next.entry(name).or_insert_with(|| value.clone());
            }
        }
        next
    };
    let mut chunks: Vec<Value> = pieces.iter().map(rest).collect();
    let mut first = chunk.clone();
    if let Some(place) = first.pointer_mut(pointer) {
        *place = pieces[0].as_str().into();
    }
    let reason = match path[..] {
        ["choices", at, ..] => first.pointer_mut(&format!("/choices/{at}/finish_reason")).map(Value::take),
        _ => None,
    };
    chunks[0] = first;
    if let (Some(reason), Some(last)) = (reason, chunks.last_mut()) {
        last["choices"][0]["finish_reason"] = reason;
    }
    chunks
}

/// Returns the value with the text and the indices on the path to it, and without other members.
fn only(value: &Value, path: &[&str], text: &str) -> Value {
    let Some((&step, path)) = path.split_first() else { return text.into() };
    match value {
        Value::Array(elements) => {
            let at: usize = step.parse().unwrap_or_default();
            json!([only(&elements[at], path, text)])
        }
        _ => {
            let mut members = Map::new();
            if let Some(index) = value.get("index") {
                members.insert("index".to_owned(), index.clone());
            }
            if value.get("finish_reason").is_some() {
                members.insert("finish_reason".to_owned(), Value::Null);
            }
            members.insert(step.to_owned(), only(&value[step], path, text));
            Value::Object(members)
        }
    }
}

#[cfg(test)]
mod tests;
