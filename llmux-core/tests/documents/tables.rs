//! Documents case by case: pointers, edits, duplicates, refusals.

use std::collections::BTreeMap;

use bytes::Bytes;
use llmux_core::document::{Document, EditError};
use serde_json::{Value, json};

use super::{LONG, parse, sent};

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

/// Applies edits and reads to a text, short and long, and checks that a clone stays as it was.
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
fn an_edit_cannot_nest_deeper_than_parsing_allows() {
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
    // The top level is always opened. A level below counts once it has been read.
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
