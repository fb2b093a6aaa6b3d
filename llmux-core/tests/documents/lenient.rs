//! Answers with places that JSON does not allow (rule F8): sent as they came, and valid JSON once they are read.

use llmux_core::document::Document;
use proptest::prelude::*;
use serde_json::Value;

use super::LONG;

/// Places that JSON does not allow, each with the JSON that a reader receives.
const IRREGULAR: [(&str, &str); 9] = [
    ("NaN", "null"),
    ("Infinity", "null"),
    ("-Infinity", "null"),
    ("1e999", "null"),
    ("-1e999", "null"),
    (r#""\ud83d""#, r#""\ufffd""#),
    (r#""a\udc00b""#, r#""a\ufffdb""#),
    (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
    (r#""\uD83D\n""#, r#""\ufffd\n""#),
];

fn lenient(text: &str) -> Document {
    assert!(Document::parse(text.to_owned()).is_err(), "{text} is no JSON");
    Document::parse_lenient(text.to_owned()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn sent(document: &Document) -> String {
    String::from_utf8(document.to_bytes().to_vec()).expect("text")
}

#[test]
fn f8_what_is_not_read_is_sent_as_it_came() {
    for (place, _) in IRREGULAR {
        for long in ["", &*LONG] {
            let text = format!(r#"{long}{{ "a": "x", "b": [1, {{"c": {place}}}], "d": {place} }}"#);
            let document = lenient(&text);
            assert_eq!(sent(&document), text);
            assert_eq!(document.get("/a"), Some("\"x\""));
            assert_eq!(document.get_str("/a"), Some("x"));
            assert_eq!(document.len("/b"), Some(2));
            assert_eq!(sent(&document), text, "nothing was read that JSON does not allow");
            assert!(!document.is_edited());
        }
    }
}

#[test]
fn f8_what_is_read_is_json_and_is_what_is_sent() {
    for (place, instead) in IRREGULAR {
        let text = format!(r#"{{"a":[1,{{"c":{place}}}],"d":{place}}}"#);
        for (pointer, read, then) in [
            ("/d", instead.to_owned(), format!(r#"{{"a":[1,{{"c":{place}}}],"d":{instead}}}"#)),
            ("/a/1/c", instead.to_owned(), format!(r#"{{"a":[1,{{"c":{instead}}}],"d":{place}}}"#)),
            (
                "/a/1",
                format!(r#"{{"c":{instead}}}"#),
                format!(r#"{{"a":[1,{{"c":{instead}}}],"d":{place}}}"#),
            ),
            (
                "/a",
                format!(r#"[1,{{"c":{instead}}}]"#),
                format!(r#"{{"a":[1,{{"c":{instead}}}],"d":{place}}}"#),
            ),
            (
                "",
                format!(r#"{{"a":[1,{{"c":{instead}}}],"d":{instead}}}"#),
                format!(r#"{{"a":[1,{{"c":{instead}}}],"d":{instead}}}"#),
            ),
        ] {
            let document = lenient(&text);
            let size = document.size();
            assert_eq!(document.get(pointer), Some(&*read), "{text} {pointer}");
            assert_eq!(sent(&document), then, "{text} {pointer}");
            assert!(document.is_edited() && size >= then.len());
            assert_eq!(document.get(pointer), Some(&*read), "again");
        }
    }
}

#[test]
fn f8_a_string_is_read_with_a_replacement_character() {
    let document = lenient(r#"{"a":"x\ud83dy","b":"\udc00"}"#);
    assert_eq!(document.get_str("/a"), Some("x\u{fffd}y"));
    assert_eq!(sent(&document), r#"{"a":"x\ufffdy","b":"\udc00"}"#);
}

#[test]
fn f8_an_edit_beside_such_a_place_leaves_it() {
    let mut document = lenient(r#"{"a":{"b":-Infinity,"c":1},"d":NaN}"#);
    document.set("/a/c", "2").expect("set");
    assert_eq!(sent(&document), r#"{"a":{"b":-Infinity,"c":2},"d":NaN}"#);
    assert_eq!(document.get("/a"), Some(r#"{"b":null,"c":2}"#));
    document.set("/d", "3").expect("set");
    assert_eq!(sent(&document), r#"{"a":{"b":null,"c":2},"d":3}"#);
    assert!(document.set("/d", "NaN").is_err(), "an edit is JSON");
}

#[test]
fn f8_a_key_with_half_a_pair_is_read_with_its_object() {
    let document = lenient(r#"{"a":{"\ud83d":1,"b":2}}"#);
    assert_eq!(document.get("/a/b"), Some("2"));
    assert_eq!(sent(&document), r#"{"a":{"\ud83d":1,"b":2}}"#);
    assert_eq!(document.get("/a"), Some(r#"{"\ufffd":1,"b":2}"#));
    assert_eq!(sent(&document), r#"{"a":{"\ufffd":1,"b":2}}"#);
}

#[test]
fn f8_nothing_else_is_accepted() {
    for text in [
        "",
        "{",
        "[NaN",
        "nan",
        "+Infinity",
        "-NaN",
        "Infinit",
        "[1,]",
        "{'a':1}",
        "{a:1}",
        "// x\n{}",
        "[01]",
        r#""\ud8""#,
        r#""\x""#,
        "\"\n\"",
        "undefined",
        "[NaN]x",
        "\"\u{0}\"",
        "Infinity1",
    ] {
        assert!(Document::parse_lenient(text).is_err(), "{text}");
    }
    assert!(Document::parse_lenient(vec![b'"', 0xff, b'"']).is_err());
}

/// A text with irregular places, and the same text with what a reader receives.
fn texts() -> impl Strategy<Value = (String, String)> {
    let regular = prop::sample::select(vec!["1", "null", "\"x\"", "\"\\u00e9\"", "[]", "{}", "-0.5e3"]);
    let regular = regular.prop_map(|text| (text.to_owned(), text.to_owned()));
    let irregular = prop::sample::select(IRREGULAR.to_vec());
    let irregular = irregular.prop_map(|(place, instead)| (place.to_owned(), instead.to_owned()));
    prop_oneof![regular, irregular].prop_recursive(4, 40, 6, |value| {
        let join = |parts: &[(String, String)], names: bool| {
            let part =
                |at: usize, text: &str| if names { format!("\"{at}\":{text}") } else { text.to_owned() };
            let text = |second: bool| {
                let parts = parts.iter().enumerate();
                let parts = parts.map(|(at, (first, other))| part(at, if second { other } else { first }));
                parts.collect::<Vec<_>>().join(",")
            };
            let (open, close) = if names { ("{", "}") } else { ("[", "]") };
            (format!("{open}{}{close}", text(false)), format!("{open}{}{close}", text(true)))
        };
        (prop::collection::vec(value, 0..6), any::<bool>())
            .prop_map(move |(parts, names)| join(&parts, names))
    })
}

proptest! {
    #[test]
    fn f8_reads_in_any_order_are_json(
        (text, regular) in texts(),
        pointers in prop::collection::vec(prop::collection::vec(0..6_u8, 0..4), 0..4),
    ) {
        let document = Document::parse_lenient(text.clone()).expect("accepted");
        prop_assert_eq!(sent(&document), text.clone());
        let value: Value = serde_json::from_str(&regular).expect("JSON");
        for tokens in pointers {
            let pointer: String = tokens.iter().map(|token| format!("/{token}")).collect();
            let read = document.get(&pointer).map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
            prop_assert_eq!(read.as_ref(), value.pointer(&pointer), "{} {}", text, pointer);
        }
        prop_assert_eq!(document.get(""), Some(&*regular));
        prop_assert_eq!(sent(&document), regular);
    }
}
