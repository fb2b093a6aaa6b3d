//! The cost of passing a body on: a document compared with typed structs that keep unknown fields, as other gateways do
//! it. `cargo bench -p llmux-core --bench document` prints both sides, and their ratios first.
//!
//! The promises: a document passes 1 MB untouched at least 5 times as fast, and with a message put in front at least 3
//! times as fast.

use std::{
    hint::black_box,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use llmux_core::document::Document;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const SYSTEM: &str = r#"{"role":"system","content":"Be brief."}"#;

/// A long conversation of an agent: 1 MB of prose, code with escapes, other scripts, tool calls and tools.
static REQUEST: LazyLock<Bytes> = LazyLock::new(|| {
    let prose = "The harbor wakes before the town does; nets are mended, and somebody always whistles. ";
    let code = "fn main() {\n\tlet name = \"world\";\n\tprintln!(\"Hello, {name}\\n\");\n}\n";
    let other = "Schöne Grüße aus Köln — 你好，世界。いろはにほへと 😀 ";
    let mut messages = vec![json!({"role": "system", "content": prose.repeat(8)})];
    let mut length = 0;
    for turn in 0.. {
        if length > 1_000_000 {
            break;
        }
        let content = match turn % 4 {
            0 | 1 => prose.repeat(18),
            2 => format!("{}\n```rust\n{}```\n", prose.repeat(6), code.repeat(10)),
            _ => format!("{}{}", prose.repeat(10), other.repeat(4)),
        };
        let call = format!("call_{turn:08}");
        let arguments = json!({"path": format!("src/{turn}.rs"), "line": turn}).to_string();
        let exchange = [
            json!({"role": "user", "content": [{"type": "text", "text": content}], "name": "ada"}),
            json!({"role": "assistant", "content": null, "tool_calls":
                [{"id": call, "type": "function", "function": {"name": "read_file", "arguments": arguments}}]}),
            json!({"role": "tool", "tool_call_id": call, "content": code.repeat(4)}),
            json!({"role": "assistant", "content": prose.repeat(9), "refusal": null}),
        ];
        length += exchange.iter().map(|message| message.to_string().len()).sum::<usize>();
        messages.extend(exchange);
    }
    let tools: Vec<Value> = (0..12)
        .map(|at| {
            let parameters = json!({"type": "object", "properties": {"path": {"type": "string", "description": prose},
                "line": {"type": "integer", "minimum": 1}}, "required": ["path"]});
            json!({"type": "function", "function":
                {"name": format!("tool_{at}"), "description": prose.repeat(2), "parameters": parameters}})
        })
        .collect();
    let request = json!({"model": "gpt-4o", "messages": messages, "tools": tools, "stream": true,
        "temperature": 0.7, "seed": 7, "metadata": {"team": "harbor"}});
    Bytes::from(request.to_string())
});

/// A chunk of a stream, as providers send them: about 300 bytes.
const CHUNK: &str = r#"{"id":"chatcmpl-9lMgQyPdgVxXaB0fWWxA0bqUZVtaz","object":"chat.completion.chunk","created":1721075653,"model":"gpt-4o-2024-05-13","system_fingerprint":"fp_298125635f","choices":[{"index":0,"delta":{"role":"assistant","content":" harbor"},"logprobs":null,"finish_reason":null}],"usage":null}"#;

#[derive(Serialize, Deserialize)]
struct TypedRequest {
    model: String,
    messages: Vec<TypedMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<TypedTool>>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct TypedMessage {
    role: String,
    content: Option<TypedContent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<TypedToolCall>>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TypedContent {
    Text(String),
    Parts(Vec<TypedPart>),
}

#[derive(Serialize, Deserialize)]
struct TypedPart {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct TypedToolCall {
    id: String,
    r#type: String,
    function: TypedFunction,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct TypedTool {
    r#type: String,
    function: TypedFunction,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct TypedFunction {
    name: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// Passes a body on.
type Pass = fn(Bytes) -> Bytes;

fn document_untouched(body: Bytes) -> Bytes {
    let document = Document::parse(body).expect("the request is valid");
    black_box((document.get_str("/model"), document.get("/stream")));
    document.to_bytes()
}

fn document_prepended(body: Bytes) -> Bytes {
    let mut document = Document::parse(body).expect("the request is valid");
    black_box((document.get_str("/model"), document.get("/stream")));
    document.insert("/messages/0", SYSTEM).expect("the request has messages");
    document.to_bytes()
}

fn typed_untouched(body: Bytes) -> Bytes {
    let request: TypedRequest = serde_json::from_slice(&body).expect("the request is valid");
    black_box((&request.model, &request.stream));
    serde_json::to_vec(&request).expect("requests serialize").into()
}

fn typed_prepended(body: Bytes) -> Bytes {
    let mut request: TypedRequest = serde_json::from_slice(&body).expect("the request is valid");
    black_box((&request.model, &request.stream));
    let system = serde_json::from_str(SYSTEM).expect("the message is valid");
    request.messages.insert(0, system);
    serde_json::to_vec(&request).expect("requests serialize").into()
}

mod one_megabyte {
    use super::*;

    fn run(bencher: Bencher<'_, '_>, pass: Pass) {
        bencher.counter(BytesCount::new(REQUEST.len())).bench(|| pass(black_box(REQUEST.clone())));
    }

    #[divan::bench]
    fn untouched_document(bencher: Bencher<'_, '_>) {
        run(bencher, document_untouched);
    }

    #[divan::bench]
    fn untouched_typed(bencher: Bencher<'_, '_>) {
        run(bencher, typed_untouched);
    }

    #[divan::bench]
    fn prepended_document(bencher: Bencher<'_, '_>) {
        run(bencher, document_prepended);
    }

    #[divan::bench]
    fn prepended_typed(bencher: Bencher<'_, '_>) {
        run(bencher, typed_prepended);
    }

    /// Reads all messages as a plugin does: opened, checked for duplicates and for UTF-8.
    #[divan::bench]
    fn read_messages_document(bencher: Bencher<'_, '_>) {
        let parse = || Document::parse(REQUEST.clone()).expect("the request is valid");
        bencher.with_inputs(parse).bench_refs(|document| document.get("/messages").map(str::len));
    }

    #[divan::bench]
    fn check_utf8_alone(bencher: Bencher<'_, '_>) {
        bencher.bench(|| std::str::from_utf8(black_box(&REQUEST)).is_ok());
    }
}

mod chunk {
    use super::*;

    #[divan::bench]
    fn parse_document(bencher: Bencher<'_, '_>) {
        bencher.bench(|| Document::parse(Bytes::from_static(black_box(CHUNK.as_bytes()))));
    }

    #[divan::bench]
    fn parse_value(bencher: Bencher<'_, '_>) {
        bencher.bench(|| serde_json::from_slice::<Value>(black_box(CHUNK.as_bytes())));
    }

    #[divan::bench]
    fn get_str_of_a_member(bencher: Bencher<'_, '_>) {
        let document = Document::parse(CHUNK).expect("the chunk is valid");
        bencher.bench(|| black_box(&document).get_str(black_box("/model")).map(str::len));
    }

    #[divan::bench]
    fn get_str_deep_first(bencher: Bencher<'_, '_>) {
        let parse = || Document::parse(CHUNK).expect("the chunk is valid");
        bencher
            .with_inputs(parse)
            .bench_refs(|document| document.get_str("/choices/0/delta/content").map(str::len));
    }

    #[divan::bench]
    fn get_str_deep_again(bencher: Bencher<'_, '_>) {
        let document = Document::parse(CHUNK).expect("the chunk is valid");
        bencher.bench(|| black_box(&document).get_str("/choices/0/delta/content").map(str::len));
    }
}

/// The medians of alternating runs, so that a busy machine slows down both sides.
fn medians(sides: [Pass; 2]) -> [Duration; 2] {
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..51 {
        for (side, times) in sides.iter().zip(&mut times) {
            let started = Instant::now();
            black_box(side(black_box(REQUEST.clone())));
            times.push(started.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    })
}

fn main() {
    println!("one request of {} bytes", REQUEST.len());
    let pairs: [(&str, [Pass; 2], f64); 2] = [
        ("untouched", [document_untouched, typed_untouched], 5.0),
        ("one message prepended", [document_prepended, typed_prepended], 3.0),
    ];
    for (name, sides, promised) in pairs {
        let [document, typed] = medians(sides);
        let ratio = typed.as_secs_f64() / document.as_secs_f64();
        println!(
            "{name}: document {document:?}, typed {typed:?}: {ratio:.1} times faster (promised: {promised:.0})"
        );
    }
    divan::main();
}
