//! The decoder of a provider's stream: its events do not depend on how the bytes arrive, and they are a beginning of those
//! that the standard's own algorithm gives (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The first byte of the input selects the endpoint and the size of the parts.

#![no_main]

use bytes::Bytes;
use futures_util::StreamExt;
use libfuzzer_sys::fuzz_target;
use llmux_core::{
    Endpoint,
    provider::{Event, fuzzing},
};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let endpoint = if first & 1 == 0 { Endpoint::ChatCompletions } else { Endpoint::Responses };
    let whole = decode(endpoint, vec![Bytes::copy_from_slice(bytes)]);
    let size = usize::from(first >> 1) + 1;
    let parts = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    assert_eq!(decode(endpoint, parts), whole, "parts of {size} bytes");
    if let Ok(text) = str::from_utf8(bytes) {
        let expected = standard(text);
        let (events, _) = whole;
        assert!(expected.starts_with(&events), "ours {events:?}, the standard's {expected:?}");
    }
});

/// A name, if there is one, and data.
type Plain = (Option<String>, String);

/// Returns the events of a stream and the error that ended it.
fn decode(endpoint: Endpoint, parts: Vec<Bytes>) -> (Vec<Plain>, Option<String>) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut stream = fuzzing::events(endpoint, parts);
            let mut events = Vec::new();
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event { name, data, .. }) => events.push((
                        name.map(|name| name.to_string()),
                        String::from_utf8(data.to_vec()).expect("an event is UTF-8"),
                    )),
                    Err(error) => return (events, Some(error.to_string())),
                }
            }
            (events, None)
        })
    })
}

/// Interprets a text as the standard says. An event without data, a keep-alive, is left out.
fn standard(text: &str) -> Vec<Plain> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
    // The decoder ends every stream with a blank line, because some providers leave it out.
    for line in format!("{text}\n\n").split('\n') {
        if line.is_empty() {
            let text = data.strip_suffix('\n').unwrap_or_default();
            if !text.is_empty() {
                events.push(((!name.is_empty()).then(|| name.clone()), text.to_owned()));
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            _ => {}
        }
    }
    events
}
