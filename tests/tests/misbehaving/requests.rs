//! The bodies of the requests.

use serde_json::{Value, json};

/// Body of a request in which a mode acts. It has many members, and many messages.
pub(crate) fn body(mode: &str) -> Value {
    let mut metadata = json!({"mode": mode});
    for at in 0..3000 {
        metadata[format!("k{at}")] = "v".into();
    }
    let messages = vec![json!({"role": "user", "content": "Hello there"}); 300];
    json!({"model": "echo", "messages": messages, "metadata": metadata})
}

/// Body of a request of somebody else.
pub(crate) fn other() -> Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": "Hello there"}]})
}
