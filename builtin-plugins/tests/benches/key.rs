//! The cost of the key of `cache`, compared with parsing the same body. `cargo bench -p llmux-builtin-tests --bench key`.
//!
//! Each body is a chat request whose members have the usual order, so that they must be sorted. `memory` is the key of
//! answers in memory, a hash with a secret; `shared` is the key of answers in Redis. The goal is half of the time of parsing.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use highway::{HighwayHash, HighwayHasher};
use llmux_core::Document;

#[path = "../../cache/src/canonical.rs"]
#[allow(unused_imports, dead_code, reason = "the tests of the module")]
mod canonical;
#[path = "../../cache/src/json.rs"]
#[allow(dead_code, reason = "parts that only the plugin uses")]
mod json;
#[path = "../../cache/src/parts.rs"]
#[allow(unused_imports, dead_code, reason = "the tests of the module")]
mod parts;

const LEAVE_OUT: [&str; 4] = ["stream", "stream_options", "user", "metadata"];

/// Number of measured rounds.
const ROUNDS: usize = 51;
/// Number of bytes that each measurement of a round takes.
const BYTES: usize = 1 << 20;

/// A conversation of about `size` bytes: texts with escapes, tool calls and their results.
fn conversation(size: usize) -> String {
    let prose = "The harbor wakes before the town does; nets are mended, and somebody always whistles. ";
    let code = r#"fn main() {\n\tlet name = \"world\";\n\tprintln!(\"Hello, {name}\\n\");\n}\n"#;
    let scale = if size < 4096 { 1 } else { 12 };
    let mut messages = String::new();
    for turn in 0.. {
        if messages.len() + 200 >= size {
            break;
        }
        if turn > 0 {
            messages.push(',');
        }
        messages.push_str(&match turn % 4 {
            0 => format!(r#"{{"role":"user","content":"{}","name":"ada"}}"#, prose.repeat(scale)),
            1 => format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"call_{turn}","type":"function","function":{{"name":"read_file","arguments":"{{\"path\":\"src/{turn}.rs\",\"line\":{turn}}}"}}}}]}}"#
            ),
            2 => format!(r#"{{"role":"tool","tool_call_id":"call_{turn}","content":"{}"}}"#, code.repeat(scale.min(4))),
            _ => format!(r#"{{"role":"assistant","content":"{}","refusal":null}}"#, prose.repeat(scale)),
        });
    }
    format!(
        r#"{{"model":"gpt-4o","messages":[{messages}],"temperature":0.7,"max_tokens":256,"stream":true,"user":"bench"}}"#
    )
}

/// A request of `size` bytes, of which almost all are one string.
fn one_text(size: usize) -> String {
    let words: String = "the quick brown fox jumps over the lazy dog ".chars().cycle().take(size).collect();
    format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{words}"}}],"user":"bench"}}"#)
}

/// Returns the median times of parsing a body and of its two keys.
fn times(body: &str) -> [Duration; 3] {
    let bytes = Bytes::from(body.to_owned());
    let count = BYTES.div_ceil(body.len());
    let parts = |update: &mut dyn FnMut(&[u8])| {
        let pieces = canonical::canonical(black_box(body), &LEAVE_OUT).expect("JSON");
        parts::for_each_part(pieces, update);
    };
    let mut runs: [Box<dyn FnMut() + '_>; 3] = [
        Box::new(|| drop(black_box(Document::parse(black_box(&bytes).clone())))),
        Box::new(|| {
            let mut hasher = HighwayHasher::new(highway::Key([1, 2, 3, 4]));
            parts(&mut |part| hasher.append(part));
            black_box(hasher.finalize256());
        }),
        Box::new(|| {
            let mut hasher = blake3::Hasher::new();
            parts(&mut |part| _ = hasher.update(part));
            black_box(hasher.finalize());
        }),
    ];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            let started = Instant::now();
            (0..count).for_each(|_| run());
            times.push(started.elapsed() / count as u32);
        }
    }
    times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2]
    })
}

fn main() {
    for (name, body) in [
        ("conversation", conversation(1 << 10)),
        ("conversation", conversation(1 << 18)),
        ("one text", one_text(1 << 18)),
    ] {
        let [parse, memory, shared] = times(&body);
        let ratio = |time: Duration| time.as_secs_f64() / parse.as_secs_f64();
        println!(
            "{name} of {} bytes: parse {parse:?}, memory {memory:?} ({:.2}), shared {shared:?} ({:.2}) (goal: 0.5)",
            body.len(),
            ratio(memory),
            ratio(shared),
        );
    }
}
