//! Documents from outside: what they accept, read, change and send. Cases are data; properties compare with
//! `serde_json::Value`, whose door ours promises to be.
//!
//! Nothing here looks inside; the scanner's and the pointers' own tests are at the foot of their files.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use llmux_core::document::{Document, EditError};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

fn parse(text: &str) -> Document {
    Document::parse(text.to_owned()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn sent(document: &Document) -> String {
    String::from_utf8(document.to_bytes().to_vec()).expect("documents are UTF-8")
}

#[test]
fn rfc_6901_examples_resolve() {
    let document = parse(
        r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#,
    );
    for (pointer, expect) in [
        ("/foo", r#"["bar", "baz"]"#),
        ("/foo/0", r#""bar""#),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ] {
        assert_eq!(document.get(pointer), Some(expect), "{pointer:?}");
    }
    assert!(document.get("").is_some_and(|whole| whole.starts_with(r#"{"foo""#)));
    for pointer in ["foo", "/foo/2", "/foo/00", "/foo/-", "/foo/", "/foo/0/0", "/m~n", "/x", "/ /x"] {
        assert_eq!(document.get(pointer), None, "{pointer:?}");
    }
}

#[test]
fn strings_come_unescaped_and_other_values_are_no_strings() {
    let document =
        parse(r#"{"plain": "Grüße", "escaped": "a\n\"\u00e9\ud83d\ude00", "n": 1, "o": {}, "e": ""}"#);
    assert_eq!(document.get_str("/plain"), Some("Grüße"));
    assert_eq!(document.get_str("/escaped"), Some("a\n\"é😀"));
    assert_eq!(document.get_str("/e"), Some(""));
    assert_eq!(document.get("/escaped"), Some(r#""a\n\"\u00e9\ud83d\ude00""#));
    for pointer in ["/n", "/o", "", "/missing"] {
        assert_eq!(document.get_str(pointer), None, "{pointer}");
    }
    assert_eq!(parse(r#" "whole\t" "#).get_str(""), Some("whole\t"));
}

#[test]
fn only_arrays_and_objects_have_a_length() {
    let document =
        parse(r#"{"a": [1, [2, 3]], "o": {"x": 1, "x": 2}, "s": "a\n", "n": 1, "e": [ ], "m": { }}"#);
    for (pointer, expect) in [
        ("", Some(6)),
        ("/a", Some(2)),
        ("/a/1", Some(2)),
        ("/o", Some(1)),
        ("/s", None),
        ("/n", None),
        ("/e", Some(0)),
        ("/m", Some(0)),
        ("/missing", None),
    ] {
        assert_eq!(document.len(pointer), expect, "{pointer}");
    }
}

#[test]
fn what_nobody_edits_leaves_as_the_bytes_that_came() {
    let bytes = Bytes::from(" {\"a\" : [1.50, 1E2 , {\"x\":1,\"x\":2}], \"b\":\"\\u0061\"}\r\n");
    let document = Document::parse(bytes.clone()).unwrap();
    assert_eq!(document.get("/a/0"), Some("1.50"));
    assert_eq!(document.get_str("/b"), Some("a"));
    assert_eq!(document.len("/a"), Some(3));
    assert_eq!(document.to_bytes().as_ptr(), bytes.as_ptr());
    assert_eq!(document.to_bytes(), bytes);
    assert!(!document.is_edited());
    assert_eq!(document.size(), bytes.len());
}

#[test]
fn a_document_prints_as_its_text() {
    assert_eq!(format!("{:?}", parse(r#"{"a": 1}"#)), r#"{"a": 1}"#);
}

#[test]
fn values_of_the_host_become_documents() {
    assert_eq!(sent(&Document::from_value(&json!({"a": [1, "x"]}))), r#"{"a":[1,"x"]}"#);
    assert_eq!(sent(&Document::from_value("x")), r#""x""#);
    let unserializable = BTreeMap::from([((1, 2), 3)]);
    assert_eq!(sent(&Document::from_value(&unserializable)), "null");
    assert!(!Document::from_value(&json!(1)).is_edited());
}

enum Do {
    Set(&'static str, &'static str),
    Insert(&'static str, &'static str),
    Remove(&'static str),
    Get(&'static str),
}
use Do::{Get, Insert, Remove, Set};

/// Applies edits and reads to a text, short and long; a clone must stay as it was.
#[track_caller]
fn check(input: &str, steps: &[Do], expect: &str) {
    check_as_it_is(input, steps, expect);
    check_as_it_is(&format!("{}{input}", *LONG), steps, expect);
}

#[track_caller]
fn check_as_it_is(input: &str, steps: &[Do], expect: &str) {
    let original = parse(input);
    let before = sent(&original);
    let mut document = original.clone();
    for step in steps {
        match step {
            Set(pointer, json) => document.set(pointer, json).unwrap(),
            Insert(pointer, json) => document.insert(pointer, json).unwrap(),
            Remove(pointer) => document.remove(pointer).unwrap(),
            Get(pointer) => drop(document.get(pointer).map(str::to_owned)),
        }
        assert!(document.size() >= document.to_bytes().len());
    }
    // Space around an unedited body stays.
    assert_eq!(sent(&document).trim_start(), expect);
    if !steps.iter().any(|step| matches!(step, Get(_))) {
        assert_eq!(sent(&original), before, "a clone was changed");
    }
}

#[test]
fn edits_change_their_place_and_copy_the_rest() {
    check(r#"{"a": 1.0, "b": [ 1, 2 ]}"#, &[Set("/a", "2")], r#"{"a":2,"b":[ 1, 2 ]}"#);
    check(r#"{"a": 1}"#, &[Set("/b", " [1] ")], r#"{"a":1,"b":[1]}"#);
    check(r#"{}"#, &[Set("/b", "1"), Set("/c\"/x", "1")][..1], r#"{"b":1}"#);
    check(r#"{ }"#, &[Set("/a\"b~1\n", "1"), Set("/a\"b~1\n", "2")], "{\"a\\\"b/\\n\":2}");
    check(r#"{"a": 1}"#, &[Set("/", "2")], r#"{"a":1,"":2}"#);
    check(r#"{"a": 1}"#, &[Insert("/a", "2"), Insert("/b", "3")], r#"{"a":2,"b":3}"#);
    check(r#"{"\u0061": 1}"#, &[Set("/a", "2")], r#"{"\u0061":2}"#);
    check(r#"[1, 2]"#, &[Set("/1", "3"), Set("/-", "4")], "[1,3,4]");
    check(r#"[1, 2]"#, &[Insert("/0", "0"), Insert("/3", "3"), Insert("/-", "4")], "[0,1,2,3,4]");
    check(r#"[]"#, &[Insert("/0", "0"), Insert("/0", "{}"), Set("/0/-", "1")], r#"[{"-":1},0]"#);
    check(r#"[1, 2, 3]"#, &[Remove("/1")], "[1,3]");
    check(r#"{"a": 1, "b": 2}"#, &[Remove("/a"), Remove("/b")], "{}");
    check(r#"{"a": 1}"#, &[Set("", "[1, 2]")], "[1, 2]");
    check(r#"{"a": 1}"#, &[Insert("", "[ 1]"), Set("/0", "2")], "[2]");
    check(r#""x""#, &[Set("", "1")], "1");
}

#[test]
fn deep_edits_rewrite_only_their_path() {
    check(
        r#"{"m": [ {"role": "user",  "content": [ {"t": 1.0} ]}, { "x":1} ], "z": { "y": 1 }}"#,
        &[Set("/m/0/content/0/t", "2")],
        r#"{"m":[{"role":"user","content":[{"t":2}]},{ "x":1}],"z":{ "y": 1 }}"#,
    );
    check(
        r#"{"a": {"b": {"c": 1}}}"#,
        &[Set("/a/b", r#"{"d": [ ]}"#), Set("/a/b/d/-", "1"), Remove("/a/b/d/0"), Set("/a/x", "null")],
        r#"{"a":{"b":{"d":[]},"x":null}}"#,
    );
}

#[test]
fn an_edit_of_a_place_that_is_not_there_changes_nothing() {
    let input = r#"{"a": [1, {"x": 1}], "s": "abc\n", "n": 1}"#;
    let mut document = parse(input);
    for (name, pointer) in [
        ("set", "/a/2"),
        ("set", "/a/01"),
        ("set", "/a/x"),
        ("set", "/missing/x"),
        ("set", "/s/0"),
        ("set", "/n/0"),
        ("set", "a"),
        ("set", "/~"),
        ("insert", "/a/3"),
        ("insert", "/a/-/x"),
        ("insert", "/a/1/x/y"),
        ("remove", ""),
        ("remove", "/a/2"),
        ("remove", "/a/-"),
        ("remove", "/missing"),
        ("remove", "/a/1/y"),
    ] {
        let answer = match name {
            "set" => document.set(pointer, "1"),
            "insert" => document.insert(pointer, "1"),
            _ => document.remove(pointer),
        };
        assert_eq!(answer, Err(EditError::NoSuchPlace), "{name} {pointer:?}");
        assert_eq!(sent(&document), input);
        assert!(!document.is_edited());
    }
}

#[test]
fn an_edit_with_text_that_is_no_json_changes_nothing() {
    let mut document = parse(r#"{"a": 1}"#);
    for json in ["", " ", "{", "1 2", "1e999", r#""\ud800""#, "nul", "'x'"] {
        assert!(matches!(document.set("/a", json), Err(EditError::InvalidJson(_))), "{json:?}");
        assert!(matches!(document.set("", json), Err(EditError::InvalidJson(_))), "{json:?}");
        assert_eq!(sent(&document), r#"{"a": 1}"#);
    }
}

#[test]
fn an_edit_cannot_nest_deeper_than_the_door_allows() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let mut document = parse("[[]]");
    assert!(matches!(document.set("/0/-", &nested(126)), Err(EditError::InvalidJson(_))));
    document.set("/0/-", &nested(125)).unwrap();
    assert!(Document::parse(document.to_bytes()).is_ok());
    let deepest = "/0".repeat(127) + "/-";
    assert!(document.set(&deepest, "1").is_err());
    let mut whole = parse("1");
    assert!(whole.set("", &nested(128)).is_err());
    whole.set("", &nested(127)).unwrap();
    whole.set(&("/0".repeat(126) + "/-"), "1").unwrap();
    assert!(whole.set(&("/0".repeat(126) + "/-"), "[]").is_err());
    assert!(Document::parse(whole.to_bytes()).is_ok());
}

#[test]
fn the_size_does_not_drift() {
    let mut document = parse(r#"{"a": {"l": []}, "b": "x"}"#);
    for round in 0..50 {
        document.set("/b", &format!("\"{}\"", "y".repeat(round))).unwrap();
        document.insert("/a/l/0", "[1, 2]").unwrap();
        document.set("/a/k\"", "1").unwrap();
        document.set("/a/l/0/1", "12345").unwrap();
        assert!(document.size() >= document.to_bytes().len());
        document.remove("/a/l/0").unwrap();
        document.remove("/a/k\"").unwrap();
    }
    document.set("/b", "\"x\"").unwrap();
    assert_eq!(document.size(), r#"{"a": {"l": []}, "b": "x"}"#.len());
}

#[test]
fn a_duplicate_key_keeps_its_last_value() {
    // The top level is always opened; what is below counts once it has been read.
    check(r#"{"a": 1, "b": 2, "a": 3}"#, &[], r#"{"b":2,"a":3}"#);
    check(r#"{"a": 1, "\u0061": 2}"#, &[], r#"{"\u0061":2}"#);
    check(r#"{"\u0061": 1, "a": 2, "\u0061": 3}"#, &[], r#"{"\u0061":3}"#);
    check(r#"{"o": {"a":1,"a":2}}"#, &[], r#"{"o": {"a":1,"a":2}}"#);
    check(r#"{"o": {"a":1,"a":2}}"#, &[Get("/o")], r#"{"o":{"a":2}}"#);
    check(r#"{"o": {"a":1,"a":2}}"#, &[Get("/o/a")], r#"{"o":{"a":2}}"#);
    check(r#"{"o": {"a":1,"a":2}}"#, &[Get("/o/missing")], r#"{"o":{"a":2}}"#);
    check(r#"{"o": {"a":1,"a":2}}"#, &[Get("")], r#"{"o": {"a":2}}"#);
    check(r#"{"o": {"a":1,"a":2}, "p": {"a":1,"a":2}}"#, &[Get("/o")], r#"{"o":{"a":2},"p":{"a":1,"a":2}}"#);
    check(r#"[[{"a":1,"a":{"b":1,"b":2}}]]"#, &[Get("/0/0/a")], r#"[[{"a":{"b":2}}]]"#);
    check(r#"[[{"a":1,"a":{"b":1,"b":2}}]]"#, &[Get("/0")], r#"[[{"a":{"b":2}}]]"#);
    check(r#"[{"a":{"b":1,"b":2},"a":{"b":3,"b":4}}]"#, &[Get("")], r#"[{"a":{"b":4}}]"#);
}

#[test]
fn reading_the_whole_after_a_part_cuts_what_the_part_left() {
    check(
        r#"{"o": [{"a":1,"a":2}, {"a":1,"a":2}, {"a": 1}]}"#,
        &[Get("/o/0"), Get("/o")],
        r#"{"o":[{"a":2},{"a":2},{"a": 1}]}"#,
    );
}

#[test]
fn what_was_read_stays_what_is_sent_after_an_edit() {
    let input = r#"{"o": {"p": {"a":1,"a":2}, "q": 1}, "r": 1}"#;
    check(input, &[Get("/o"), Set("/o/q", "2")], r#"{"o":{"p":{"a":2},"q":2},"r":1}"#);
    check(input, &[Get(""), Set("/r", "2")], r#"{"o":{"p": {"a":2}, "q": 1},"r":2}"#);
    check(input, &[Get(""), Get("/o/q"), Set("/o/q", "2")], r#"{"o":{"p":{"a":2},"q":2},"r":1}"#);
    check(input, &[Set("/o/q", "2")], r#"{"o":{"p":{"a":1,"a":2},"q":2},"r":1}"#);
    check(input, &[Set("/o/q", "2"), Get("/o")], r#"{"o":{"p":{"a":2},"q":2},"r":1}"#);
    check(r#"{"x": 1}"#, &[Set("/x", r#"{"a":1,"a":2}"#), Get("/x")], r#"{"x":{"a":2}}"#);
}

#[test]
fn a_read_that_cuts_something_counts_as_an_edit() {
    for (text, pointer, edited) in [
        (r#"{"a": 1, "a": 1}"#, "/x", true),
        (r#"{"o": {"a": 1, "a": 1}}"#, "/x", false),
        (r#"{"o": {"a": 1, "a": 1}}"#, "/o/a", true),
        (r#"{"o": [[{"a": 1, "a": 1}]]}"#, "/o", true),
        (r#"{"o": [[{"a": 1, "b": 1}]]}"#, "/o", false),
    ] {
        let document = parse(text);
        document.get(pointer);
        assert_eq!(document.is_edited(), edited, "{text} {pointer}");
        assert_eq!(sent(&document) != text, edited, "{text} {pointer}");
    }
}

#[test]
fn objects_with_many_keys_are_deduplicated_in_reasonable_time() {
    let members: Vec<String> = (0..200_000).map(|at| format!("\"k{}\":{at}", at % 100_000)).collect();
    let object = format!("{{{}}}", members.join(","));
    let started = std::time::Instant::now();
    let document = parse(&object);
    assert_eq!(document.len(""), Some(100_000));
    let nested = parse(&format!("[{object}]"));
    assert!(nested.get("/0").is_some_and(|text| text.starts_with("{\"k0\":100000,")));
    assert_eq!(nested.len("/0"), Some(100_000));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn a_deep_text_with_duplicates_at_its_end_is_cut_in_one_pass() {
    let filler = "[1,2,3],".repeat(100_000);
    let text = "[".repeat(125) + &filler + r#"{"a":1,"a":2}"# + &"]".repeat(125);
    let started = std::time::Instant::now();
    let document = parse(&text);
    assert!(document.get("").is_some_and(|text| text.contains(r#"{"a":2}"#)));
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[test]
fn threads_that_read_at_once_see_the_same() {
    let text = r#"{"m": [{"a": {"x":1,"x":2}, "s": "\n"}, {"a": {"x":3,"x":4}}], "o": {"b": {"y":1,"y":2}}}"#;
    for _ in 0..200 {
        let document = parse(text);
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let document = &document;
                scope.spawn(move || {
                    let pointers = ["/m", "/m/0/a", "", "/m/1/a/x", "/o", "/m/0/s"];
                    for step in 0..pointers.len() {
                        let pointer = pointers[(step + thread) % pointers.len()];
                        let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
                        let whole: Value = serde_json::from_str(text).unwrap();
                        assert_eq!(Some(&read), whole.pointer(pointer));
                    }
                });
            }
        });
        assert!(!sent(&document).contains(r#""x":1"#));
        assert!(document.is_edited());
    }
}

#[test]
fn a_refusal_says_where_and_why() {
    let error = Document::parse("{\"a\": 1,\n \"b\": }").unwrap_err();
    assert_eq!((error.line, error.column), (2, 7));
    assert_eq!(error.to_string(), "invalid JSON at line 2, column 7: expected value");
    let mut document = parse("[]");
    let error = document.set("/0", "[").unwrap_err();
    assert_eq!(error.to_string(), "invalid JSON at line 1, column 1: EOF while parsing a list");
}

/// The door and `serde_json::Value` agree on a text, and on the same text in a long body, which is opened further.
fn agree(text: &[u8]) -> Result<(), TestCaseError> {
    agree_as_it_is(text)?;
    agree_as_it_is(&[LONG.as_bytes(), text].concat())
}

/// Space that makes a body a long one.
static LONG: LazyLock<String> = LazyLock::new(|| " ".repeat(5000));

fn agree_as_it_is(text: &[u8]) -> Result<(), TestCaseError> {
    let ours = Document::parse(text.to_vec());
    let theirs = serde_json::from_slice::<Value>(text);
    let shown = String::from_utf8_lossy(text);
    match (ours, theirs) {
        (Ok(document), Ok(value)) => {
            let read = document.get("").expect("the whole is there");
            prop_assert_eq!(
                serde_json::from_str::<Value>(read).expect("read text is JSON"),
                value,
                "{}",
                shown
            );
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => prop_assert!(false, "{}: ours {:?}, theirs {:?}", shown, ours, theirs),
    }
    Ok(())
}

#[test]
fn the_door_agrees_with_serde_json_on_nasty_texts() {
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + "1" + &close.repeat(depth);
    let mut texts: Vec<Vec<u8>> = [126, 127, 128, 129]
        .into_iter()
        .flat_map(|depth| {
            [
                nested("[", "]", depth),
                nested("{\"a\":", "}", depth),
                "[".repeat(depth),
                format!("{{\"a\":{}}}", nested("[", "]", depth - 1)),
            ]
        })
        .chain((250..330).flat_map(|digits| {
            let nines = "9".repeat(digits);
            [format!("[{nines}]"), format!("-{nines}.5"), format!("{nines}e10"), format!("0.{nines}e309")]
        }))
        .map(String::into_bytes)
        .collect();
    let texts_as_written: &[&[u8]] = &[
        b"",
        b" ",
        b"\xEF\xBB\xBF{}",
        b"1e999",
        b"-1e999",
        b"1e308",
        b"1.8e308",
        b"1e-999",
        b"0e999",
        b"0e99999999999999999999",
        b"1e99999999999999999999",
        b"1e-99999999999999999999",
        b"-",
        b"-0",
        b"-0.0",
        b"01",
        b"-01",
        b"1.",
        b".1",
        b"1.e1",
        b"1e",
        b"1e+",
        b"+1",
        b"0x1",
        b"1_0",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1 ",
        b"1 1",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1",
        b"]",
        b"[}",
        b"{]",
        b"{\"a\":1,}",
        b"{,}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{1:1}",
        b"{null:1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":1",
        b"{\"a\":1}}",
        b"{\"\":{}}",
        b"{ }",
        b"[ ]",
        b"[\x0b]",
        b"[\x0c1]",
        b"\xC2\xA01",
        b"tru",
        b"true",
        b"truee",
        b"nullx",
        b"falsE",
        b"\"",
        b"\"\\",
        b"\"\\\"",
        b"\"a\nb\"",
        b"\"\x00\"",
        b"\"\x1f\"",
        b"\"\x7f\"",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\\u+123\"",
        b"\"\\ud800\"",
        b"\"\\udc00\"",
        b"\"\\ud800\\ud800\"",
        b"\"\\ud800\\u0041\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\uD83D\\uDE00\"",
        b"\"\\ud800x\"",
        b"\"\\ud800\\n\"",
        b"\"\\ud800\\u\"",
        b"\"\\ud800\\udc0\"",
        b"\"\\u0000\"",
        b"\"\\uDBFF\\uDFFF\"",
        b"{\"\\ud800\":1}",
        b"\"\xff\"",
        b"\"\xc3\"",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xe2\x82\xac\"",
        b"[\xff]",
        b"\"a\xff",
        b"/**/1",
        b"1//",
        b"'a'",
        b"{\"$serde_json::private::Number\":\"1\"}",
        b"{\"$serde_json::private::RawValue\":\"1\"}",
        b"{\"a\":1,\"a\":2}",
        b"{\"a\":{\"b\":1,\"b\":2},\"a\":{\"b\":3,\"b\":4}}",
        b"\t\r\n [ 1 , 2 ] \t\r\n",
    ];
    texts.extend(texts_as_written.iter().map(|text| text.to_vec()));
    for text in texts {
        agree(&text).unwrap();
    }
}

/// JSON text as machines and people write it: any spacing, escapes, number forms; duplicate keys on request.
fn json_text(duplicates: bool) -> impl Strategy<Value = String> {
    let space = || prop_oneof![5 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r ")];
    let piece = prop_oneof![
        5 => "[ -!#-\\[\\]-~]{0,12}",
        1 => "[ -!#-\\[\\]-~]{60,90}",
        2 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0061", "\\ud83d\\ude00", "é", "語", "😀"]).prop_map(String::from),
    ];
    let string = prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let number =
        prop_oneof!["-?(0|[1-9][0-9]{0,20})", "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,4}([eE][+-]?[0-9]{1,2})?"];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number,
        string.clone()
    ];
    let key = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "\\u0061", "c", "x~y", "p/q", ""]).prop_map(|key| format!("\"{key}\"")),
        1 => string,
    ];
    let text = scalar.prop_recursive(5, 60, 8, move |value| {
        let elements = prop::collection::vec((space(), value.clone(), space()), 0..6).prop_map(|parts| {
            parts.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect::<Vec<_>>()
        });
        let members =
            prop::collection::vec((space(), key.clone(), space(), value), 0..20).prop_map(move |parts| {
                let mut seen = std::collections::HashSet::new();
                parts
                    .into_iter()
                    .filter(|(_, key, ..)| {
                        duplicates || seen.insert(serde_json::from_str::<String>(key).unwrap())
                    })
                    .map(|(a, key, b, value)| format!("{a}{key}{b}:{a}{value}{b}"))
                    .collect::<Vec<_>>()
            });
        prop_oneof![
            (elements, space()).prop_map(|(parts, space)| format!(
                "[{}]",
                if parts.is_empty() { space.into() } else { parts.join(",") }
            )),
            (members, space()).prop_map(|(parts, space)| format!(
                "{{{}}}",
                if parts.is_empty() { space.into() } else { parts.join(",") }
            )),
        ]
    });
    (text, prop::bool::weighted(0.3))
        .prop_map(|(text, long)| if long { format!("{}{text}", *LONG) } else { text })
}

/// Every pointer of a value, the root's first.
fn pointers(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: String, out: &mut Vec<String>) {
        out.push(at.clone());
        match value {
            Value::Array(elements) => {
                elements
                    .iter()
                    .enumerate()
                    .for_each(|(index, element)| walk(element, format!("{at}/{index}"), out));
            }
            Value::Object(members) => members.iter().for_each(|(key, member)| {
                walk(member, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(value, String::new(), &mut out);
    out
}

/// A value that keeps the first of duplicate keys, as some parsers do.
struct FirstWins(Value);

impl<'de> serde::Deserialize<'de> for FirstWins {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = FirstWins;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<FirstWins, E> {
                Ok(FirstWins(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<FirstWins, E> {
                Ok(FirstWins(value.into()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<FirstWins, A::Error> {
                let mut elements = Vec::new();
                while let Some(FirstWins(element)) = access.next_element()? {
                    elements.push(element);
                }
                Ok(FirstWins(elements.into()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<FirstWins, A::Error> {
                let mut members = serde_json::Map::new();
                while let Some((key, FirstWins(value))) = access.next_entry::<String, _>()? {
                    members.entry(key).or_insert(value);
                }
                Ok(FirstWins(members.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Applies the same edit to a value as `serde_json` would have it; false when there is no such place.
fn edit_value(root: &mut Value, kind: u8, pointer: &str, new: Value) -> bool {
    let Some((parent, token)) = pointer.rsplit_once('/') else {
        if kind == 2 {
            return false;
        }
        *root = new;
        return true;
    };
    let token = token.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent) {
        Some(Value::Object(members)) if kind == 2 => members.remove(&token).is_some(),
        Some(Value::Object(members)) => {
            members.insert(token, new);
            true
        }
        Some(Value::Array(elements)) => {
            let at = if token == "-" && kind != 2 { Some(elements.len()) } else { token.parse().ok() };
            match (kind, at) {
                (0, Some(at)) if at < elements.len() => elements[at] = new,
                (0, Some(_)) if token == "-" => elements.push(new),
                (1, Some(at)) if at <= elements.len() => elements.insert(at, new),
                (2, Some(at)) if at < elements.len() => drop(elements.remove(at)),
                _ => return false,
            }
            true
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_door_agrees_with_serde_json(text in json_text(true)) {
        agree(text.as_bytes())?;
    }

    #[test]
    fn the_door_agrees_with_serde_json_on_broken_texts(
        text in json_text(true),
        changes in prop::collection::vec((any::<Index>(), 0..4u8, prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:0e-.u \x1f".to_vec())]), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (at, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        agree(&bytes)?;
    }

    #[test]
    fn an_untouched_text_leaves_as_it_came(text in json_text(false), reads in prop::collection::vec(any::<Index>(), 0..5)) {
        let document = parse(&text);
        let value: Value = serde_json::from_str(&text).unwrap();
        let pointers = pointers(&value);
        for read in reads {
            let pointer = read.get(&pointers);
            let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
            prop_assert_eq!(Some(&read), value.pointer(pointer));
            prop_assert_eq!(document.get_str(pointer), read.as_str());
        }
        prop_assert_eq!(sent(&document), text.as_str());
        prop_assert!(!document.is_edited());
    }

    #[test]
    fn edits_do_what_they_do_to_a_value(
        text in json_text(false),
        edits in prop::collection::vec((any::<Index>(), prop::sample::select(vec!["", "/-", "/0", "/a", "/new~1"]), 0..3u8, json_text(false), any::<Option<Index>>()), 1..8),
    ) {
        let mut document = parse(&text);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        for (place, suffix, kind, json, read) in edits {
            let pointer = place.get(&pointers(&value)).clone() + suffix;
            let new = serde_json::from_str(&json).unwrap();
            let before = document.clone();
            let before_text = sent(&before);
            let answer = match kind {
                0 => document.set(&pointer, &json),
                1 => document.insert(&pointer, &json),
                _ => document.remove(&pointer),
            };
            let expect = edit_value(&mut value, kind, &pointer, new);
            prop_assert_eq!(answer.is_ok(), expect, "{} {}", kind, pointer);
            prop_assert_eq!(sent(&before), before_text);
            let after = sent(&document);
            prop_assert!(document.size() >= after.len());
            prop_assert_eq!(&serde_json::from_str::<Value>(&after).unwrap(), &value);
            if let Some(read) = read {
                let pointers = pointers(&value);
                let pointer = read.get(&pointers);
                let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
                prop_assert_eq!(Some(&read), value.pointer(pointer));
            }
        }
    }

    #[test]
    fn what_was_read_is_what_is_sent(
        text in json_text(true),
        reads in prop::collection::vec((any::<Index>(), any::<bool>()), 1..5),
    ) {
        let mut document = parse(&text);
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let mut promised = Vec::new();
        for (read, edit) in reads {
            let pointers = pointers(&value);
            let pointer = read.get(&pointers);
            let read: Value = serde_json::from_str(document.get(pointer).unwrap()).unwrap();
            prop_assert_eq!(Some(&read), value.pointer(pointer));
            promised.push((pointer.clone(), read));
            if edit && value.is_object() {
                document.set("/brand new", "1").unwrap();
                value["brand new"] = json!(1);
            }
            let bytes = document.to_bytes();
            prop_assert!(document.size() >= bytes.len());
            prop_assert_eq!(document.is_edited(), bytes != text.as_bytes());
            let last: Value = serde_json::from_slice(&bytes).unwrap();
            let FirstWins(first) = serde_json::from_slice(&bytes).unwrap();
            for (pointer, read) in &promised {
                let mut read = read.clone();
                if pointer.is_empty() && let Some(new) = last.get("brand new") {
                    read["brand new"] = new.clone();
                }
                prop_assert_eq!(last.pointer(pointer), Some(&read), "{}", pointer);
                prop_assert_eq!(first.pointer(pointer), Some(&read), "{}", pointer);
            }
        }
    }
}
