//! The cost of parsing a body: a document compared with `sonic-rs` and `simd-json`, on chat requests of 1 KB, 64 KB and
//! 1 MB. `cargo bench -p llmux-core --bench parse` prints the times, and the ratio to the faster of the two.
//!
//! The promise: a document takes at most 1.3 times as long.
//!
//! The work of all three is bytes to checked UTF-8 and checked JSON. A document also knows its members and messages, and
//! whether any object has a key twice. `sonic_rs::LazyValue` checks the whole text except the digits of `\u` escapes and
//! pairs of surrogates; it knows nothing of the text's parts. `simd_json::to_tape` overwrites its input, so each run has a
//! copy, which is not timed; the buffers are reused. The second time of a document includes reading the whole text.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use llmux_core::document::Document;
use serde_json::{Value, json};

const PROSE: &str = "The harbor wakes before the town does; nets are mended, and somebody always whistles. ";
const CODE: &str = "fn main() {\n\tlet name = \"world\";\n\tprintln!(\"Hello, {name}\\n\");\n}\n";
const OTHER: &str = "Schöne Grüße aus Köln — 你好，世界。いろはにほへと 😀 ";

/// Number of measured rounds.
const ROUNDS: usize = 51;
/// Number of bytes that each measurement of a round parses.
const BYTES: usize = 1 << 20;

/// A conversation of an agent of about `size` bytes: prose, code with escapes, other scripts, tool calls and tools.
fn request(size: usize) -> Bytes {
    let (scale, tools) = if size < 4096 { (1, 1) } else { (6, 8) };
    let tools: Vec<Value> = (0..tools).map(tool).collect();
    let mut messages = vec![json!({"role": "system", "content": PROSE.repeat(scale)})];
    let mut length = json!([messages, tools]).to_string().len() + 100;
    for message in (0..).flat_map(|turn| exchange(turn, scale)) {
        if length >= size {
            break;
        }
        length += message.to_string().len() + 1;
        messages.push(message);
    }
    let request = json!({"model": "gpt-4o", "messages": messages, "tools": tools, "stream": true,
        "temperature": 0.7, "seed": 7, "metadata": {"team": "harbor"}});
    Bytes::from(request.to_string())
}

fn tool(number: usize) -> Value {
    let parameters = json!({"type": "object", "properties": {"path": {"type": "string", "description": &PROSE[..38]},
        "line": {"type": "integer", "minimum": 1}}, "required": ["path"]});
    json!({"type": "function", "function":
        {"name": format!("tool_{number}"), "description": &PROSE[..38], "parameters": parameters}})
}

/// A question, a tool call with its result, and the answer.
fn exchange(turn: usize, scale: usize) -> [Value; 4] {
    let question = match turn % 4 {
        _ if scale == 1 => "Read src/0.rs — and tell me:\n\"what\" does it do?".to_owned(),
        0 | 1 => PROSE.repeat(2 * scale),
        2 => format!("{}\n```rust\n{}```\n", PROSE.repeat(scale), CODE.repeat(scale)),
        _ => format!("{}{}", PROSE.repeat(scale), OTHER.repeat(2)),
    };
    let call = format!("call_{turn:08}");
    let arguments = json!({"path": format!("src/{turn}.rs"), "line": turn}).to_string();
    [
        json!({"role": "user", "content": question, "name": "ada"}),
        json!({"role": "assistant", "content": null, "tool_calls":
            [{"id": call, "type": "function", "function": {"name": "read_file", "arguments": arguments}}]}),
        json!({"role": "tool", "tool_call_id": call, "content": CODE.repeat(scale.min(4))}),
        json!({"role": "assistant", "content": PROSE.repeat(scale * 3 / 2), "refusal": null}),
    ]
}

/// Returns the time of one of `count` runs.
fn time(count: usize, mut run: impl FnMut()) -> Duration {
    let started = Instant::now();
    (0..count).for_each(|_| run());
    started.elapsed() / count as u32
}

/// Returns the times of a document, of a document that is read, of `sonic-rs` and of `simd-json`.
fn round(body: &Bytes, buffers: &mut simd_json::Buffers) -> [Duration; 4] {
    let count = BYTES.div_ceil(body.len());
    let document = time(count, || {
        black_box(Document::parse(black_box(body).clone()).expect("JSON"));
    });
    let read = time(count, || {
        let document = Document::parse(black_box(body).clone()).expect("JSON");
        black_box(document.get(""));
    });
    let sonic = time(count, || {
        black_box(sonic_rs::from_slice::<sonic_rs::LazyValue<'_>>(black_box(body)).expect("JSON"));
    });
    let mut copies = vec![body.to_vec(); count].into_iter();
    let mut done = Vec::with_capacity(count);
    let simd = time(count, || {
        let mut copy = copies.next().expect("a copy for each run");
        black_box(simd_json::to_tape_with_buffers(black_box(&mut copy), buffers).expect("JSON"));
        done.push(copy);
    });
    [document, read, sonic, simd]
}

fn main() {
    println!("medians of {ROUNDS} rounds");
    for size in [1 << 10, 1 << 16, 1 << 20] {
        let body = request(size);
        let mut buffers = simd_json::Buffers::new(body.len());
        let mut times = [const { Vec::new() }; 4];
        // All four run in each round, so that a slow phase of the machine slows down all of them.
        for _ in 0..ROUNDS {
            for (times, time) in times.iter_mut().zip(round(&body, &mut buffers)) {
                times.push(time);
            }
        }
        let [document, read, sonic, simd] = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        let ratio = document.as_secs_f64() / sonic.min(simd).as_secs_f64();
        println!(
            "{} bytes: document {document:?}, read too {read:?}, sonic-rs {sonic:?}, simd-json {simd:?}: \
             {ratio:.2} times the faster one (promised: at most 1.3)",
            body.len()
        );
    }
}
