//! Splits keep what a response says, on every endpoint that streams.

use super::*;

fn responses() -> [Value; 3] {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": \"é\\u00e9\"}"}});
    let message =
        json!({"role": "assistant", "content": "añb", "reasoning_content": "so", "tool_calls": [call]});
    [
        json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "p",
               "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}),
        json!({"id": "x", "object": "text_completion", "created": 1, "model": "m",
               "choices": [{"index": 0, "text": "one", "finish_reason": "length"},
                           {"index": 1, "text": "two", "finish_reason": "stop"}]}),
        json!({"id": "r", "object": "response", "status": "completed", "output": [
            {"id": "m", "type": "message", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "añb", "annotations": [], "logprobs": []}]},
            {"id": "f", "type": "function_call", "call_id": "c", "name": "f", "status": "completed", "arguments": "{}"},
        ]}),
    ]
}

fn assembled(chunks: &[Value]) -> Option<Value> {
    let mut assembler = Assembler::new();
    chunks.iter().for_each(|chunk| assembler.push(chunk));
    assembler.finish()
}

/// Returns the texts of chunks, joined by their names.
fn joined(chunks: &[Value]) -> std::collections::BTreeMap<String, String> {
    let mut joined = std::collections::BTreeMap::<String, String>::new();
    for (place, text) in chunks.iter().flat_map(texts_of) {
        joined.entry(place.name).or_default().push_str(text);
    }
    joined.retain(|_, text| !text.is_empty());
    joined
}

#[test]
fn every_split_says_the_same_in_other_pieces() {
    for response in responses() {
        let splits = Splits::of_response(&response).expect("an answer with texts");
        let whole = splits.chunks(Cut::Whole);
        let mut seen = Vec::new();
        for cut in splits.cuts().chain([Cut::Characters]) {
            let chunks = splits.chunks(cut);
            assert_eq!(assembled(&chunks), Some(response.clone()), "{cut:?}");
            assert_eq!(joined(&chunks), joined(&whole), "{cut:?}");
            assert!(!seen.contains(&chunks), "{cut:?} is a split of its own");
            let numbers = chunks.iter().filter_map(|chunk| chunk["sequence_number"].as_u64());
            assert!(numbers.enumerate().all(|(at, number)| at as u64 == number), "{chunks:?}");
            if let Some((name, [first, second])) = splits.pieces(cut) {
                let pieces: Vec<_> = chunks.iter().flat_map(texts_of).collect();
                let here =
                    |text: &str| pieces.iter().any(|(place, there)| place.name == name && *there == text);
                assert!(here(first) && here(second), "{chunks:?}");
                assert_eq!(chunks.len(), whole.len() + 1);
            }
            seen.push(chunks);
        }
        assert_eq!(splits.count(), seen.len());
    }
}

#[test]
fn characters_are_never_cut() {
    let [chat, ..] = responses();
    let splits = Splits::of_response(&chat).expect("an answer with texts");
    let names: Vec<_> = splits.texts.iter().map(|text| text.place.name.as_str()).collect();
    let expected = ["choice 0, reasoning_content", "choice 0, content", "choice 0, tool call 0, arguments"];
    assert_eq!(names, expected);
    let content = splits.cuts().filter(|cut| matches!(cut, Cut::At(1, _)));
    let pieces: Vec<_> = content.filter_map(|cut| Some(splits.pieces(cut)?.1)).collect();
    assert_eq!(pieces, [["", "añb"], ["a", "ñb"], ["añ", "b"], ["añb", ""]]);
}

#[test]
fn an_answer_without_texts_or_with_too_many_is_refused() {
    let of = |text: &str| Splits::of_response(&json!({"choices": [{"message": {"content": text}}]}));
    assert!(of(&"x".repeat(Splits::MAX_BYTES)).is_ok());
    let error = of(&"x".repeat(Splits::MAX_BYTES + 1)).expect_err("too long");
    assert_eq!(
        error,
        "the answer has 16385 bytes of text, and at most 16384 can be split; give a shorter answer"
    );
    assert!(of("").expect_err("empty").starts_with("the answer has no text, "));
    let error = Splits::of_chunks(&[json!({"choices": [{"index": 0, "delta": {"content": "x"}}]})]);
    assert!(error.expect_err("no end").contains("the stream has no end"));
}
