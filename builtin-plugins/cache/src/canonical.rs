//! One text for all spellings of a JSON body: members sorted by name, no white space, no commas between members.
//!
//! Called by `key` for every request. It works on the text itself: it builds no tree and copies nothing. The result is
//! pieces of the body in another order, which `key` hashes one after the other. Numbers and strings keep their original
//! text: two bodies of different meaning never have the same canonical text. Two spellings of one number or one escape
//! only cause a miss. The text comes from the host, which has checked that it is JSON without duplicate members. For any
//! other text the result is `None`, never a wrong text.

use crate::json::{Json, MAX_DEPTH, Quoted};

/// Returns the canonical text of a JSON object in pieces, without the top-level members that `leave_out` names.
pub(crate) fn canonical<'t>(json: &'t str, leave_out: &[&str]) -> Option<impl Iterator<Item = &'t [u8]>> {
    let text = json.as_bytes();
    let mut pieces = Vec::with_capacity(64);
    pieces.push(Piece { start: usize::MAX, end: usize::MAX, next: 0 });
    let json = Json(text);
    let mut scan = Scan { json, pieces, last: 0, members: Vec::with_capacity(16), leave_out };
    let end = scan.value(json.space(0), 0)?;
    let pieces = (json.space(end) == text.len()).then_some(scan.pieces)?;
    let mut at = 0;
    Some(std::iter::from_fn(move || {
        at = pieces[at].next;
        (at != 0).then(|| &text[pieces[at].start..pieces[at].end])
    }))
}

/// A scan of a text. Its functions take a position, and return the position after what they have passed.
struct Scan<'a> {
    json: Json<'a>,
    /// The pieces in the order of the text, after one that no text follows, from which the canonical text begins.
    pieces: Vec<Piece>,
    /// The last piece of the canonical text so far.
    last: usize,
    /// The members of the objects that are open.
    members: Vec<Member>,
    leave_out: &'a [&'a str],
}

/// A range of the text.
struct Piece {
    start: usize,
    end: usize,
    /// The next piece of the canonical text; 0 if there is none.
    next: usize,
}

#[derive(Clone, Copy)]
struct Member {
    /// The first bytes of the name, by which members are sorted.
    order: u64,
    /// The start and the end of the name, quotes included.
    name: (usize, usize),
    /// Its first and its last piece.
    first: usize,
    last: usize,
}

impl Scan<'_> {
    /// Adds a range. It becomes a part of the last piece if it follows that in the body.
    #[inline]
    fn add(&mut self, start: usize, end: usize) {
        let next = self.pieces.len();
        let last = &mut self.pieces[self.last];
        if last.end == start {
            last.end = end;
        } else {
            last.next = next;
            self.begin(start, end);
        }
    }

    /// Adds a range as a piece that no other leads to.
    #[inline]
    fn begin(&mut self, start: usize, end: usize) {
        self.last = self.pieces.len();
        self.pieces.push(Piece { start, end, next: 0 });
    }

    #[inline]
    fn value(&mut self, at: usize, depth: usize) -> Option<usize> {
        let end = match self.json.byte(at)? {
            b'"' => self.json.string(at)?.end,
            b'{' | b'[' if depth == MAX_DEPTH => return None,
            b'{' => return self.object(at, depth + 1),
            b'[' => return self.array(at, depth + 1),
            _ => self.json.scalar(at)?,
        };
        self.add(at, end);
        Some(end)
    }

    fn array(&mut self, start: usize, depth: usize) -> Option<usize> {
        self.add(start, start + 1);
        let mut at = self.json.space(start + 1);
        if self.json.byte(at)? == b']' {
            self.add(at, at + 1);
            return Some(at + 1);
        }
        loop {
            at = self.value(at, depth)?;
            at = self.json.space(at);
            self.add(at, at + 1);
            match self.json.byte(at)? {
                b',' => at = self.json.space(at + 1),
                b']' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    fn object(&mut self, start: usize, depth: usize) -> Option<usize> {
        self.add(start, start + 1);
        let (open, brace) = (self.members.len(), self.last);
        let mut at = self.json.space(start + 1);
        if self.json.byte(at)? == b'}' {
            self.add(at, at + 1);
            return Some(at + 1);
        }
        loop {
            let (Quoted { end, .. }, colon) = self.json.name(at)?;
            let name = (at, end);
            self.begin(name.0, name.1);
            let first = self.last;
            self.add(colon, colon + 1);
            at = self.value(self.json.space(colon + 1), depth)?;
            if depth > 1 || !self.is_left_out(name) {
                self.members.push(Member {
                    order: order(&self.json.0[name.0 + 1..name.1 - 1]),
                    name,
                    first,
                    last: self.last,
                });
            }
            at = self.json.space(at);
            match self.json.byte(at)? {
                b',' => at = self.json.space(at + 1),
                b'}' => break,
                _ => return None,
            }
        }
        self.last = brace;
        self.append_sorted(open);
        self.add(at, at + 1);
        Some(at + 1)
    }

    fn is_left_out(&self, name: (usize, usize)) -> bool {
        let name = &self.json.0[name.0 + 1..name.1 - 1];
        self.leave_out.iter().any(|left_out| left_out.as_bytes() == name)
    }

    /// Appends the members from `open` on to the canonical text, sorted by name.
    fn append_sorted(&mut self, open: usize) {
        let text = self.json.0;
        let members = &mut self.members[open..];
        let name = |member: &Member| &text[member.name.0..member.name.1];
        members.sort_unstable_by(|one, other| {
            one.order.cmp(&other.order).then_with(|| name(one).cmp(name(other)))
        });
        for member in members {
            self.pieces[self.last].next = member.first;
            self.last = member.last;
        }
        self.members.truncate(open);
    }
}

/// The first bytes of a name as one number, which orders most names.
#[inline]
fn order(name: &[u8]) -> u64 {
    match name.first_chunk() {
        Some(&first) => u64::from_be_bytes(first),
        None => name.iter().fold(0, |order, &byte| order << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::{
        collection::{btree_map, vec},
        prelude::*,
        sample::select,
    };
    use serde_json::Value;

    use super::*;

    /// Small values of few names and texts, so that many of them are alike.
    fn value() -> impl Strategy<Value = Value> {
        let texts = select(vec![
            "",
            "a",
            "b",
            "\"",
            "\\",
            "a\":1",
            ",",
            "{}",
            "a long text that fills more than one block",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            select(vec![0, 1, 10, 11]).prop_map(Value::from),
            texts.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let names =
                select(vec!["", "a", "b", "ab", "\"", "a name of many bytes 1", "a name of many bytes 2"]);
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                btree_map(names.prop_map(str::to_owned), inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    /// Writes a value with its members in another order, and with white space, as `seed` says.
    fn spell(value: &Value, seed: &mut u64, out: &mut String) {
        let mut random = move |below: usize| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*seed >> 33) as usize % below
        };
        let space = ["", "", " ", "\n\t"];
        match value {
            Value::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    out.push_str(space[random(4)]);
                    let mut seed = random(1 << 30) as u64;
                    spell(element, &mut seed, out);
                    out.push_str(space[random(4)]);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                out.push_str(space[random(4)]);
                let mut members: Vec<_> = members.iter().collect();
                for first in (0..members.len()).rev() {
                    let (name, value) = members.swap_remove(random(first + 1));
                    out.push_str(&Value::from(name.as_str()).to_string());
                    out.push_str(space[random(4)]);
                    out.push(':');
                    out.push_str(space[random(4)]);
                    let mut seed = random(1 << 30) as u64;
                    spell(value, &mut seed, out);
                    out.push_str(space[random(4)]);
                    out.push_str(if first == 0 { "" } else { "," });
                    out.push_str(space[random(4)]);
                }
                out.push('}');
            }
            leaf => out.push_str(&leaf.to_string()),
        }
    }

    proptest! {
        #[test]
        fn two_bodies_have_one_text_exactly_if_they_mean_the_same(values in vec(value(), 100), mut seed: u64) {
            let mut known = HashMap::new();
            for value in &values {
                let mut spelled = String::new();
                spell(value, &mut seed, &mut spelled);
                let canonical = text(&spelled);
                prop_assert!(canonical.is_some(), "{}", spelled);
                prop_assert_eq!(&canonical, &text(&value.to_string()), "{}", spelled);
                prop_assert_eq!(*known.entry(canonical).or_insert(value), value);
            }
        }
    }

    fn text(json: &str) -> Option<String> {
        let pieces: Vec<&[u8]> = canonical(json, &["stream", "user"])?.collect();
        Some(String::from_utf8(pieces.concat()).expect("UTF-8 in, UTF-8 out"))
    }

    #[test]
    fn order_and_space_do_not_count_at_any_depth() {
        let one = r#"{"b": [1, {"y": "}\"", "x": null}], "a": {"d": 1.0, "c": -2e5}}"#;
        let other = "{\"a\":{\"c\":-2e5,\n\"d\":1.0},\t\"b\":[1,{\"x\":null,\"y\":\"}\\\"\"}]}";
        assert_eq!(text(one), text(other));
        assert_eq!(text(one).expect("JSON"), r#"{"a":{"c":-2e5"d":1.0}"b":[1,{"x":null"y":"}\""}]}"#);
    }

    #[test]
    fn what_can_change_the_answer_counts() {
        let bodies = [
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":null}"#,
            r#"{}"#,
            r#"{"a":{"stream":true}}"#,
            r#"{"a":18446744073709551617}"#,
            r#"{"a":18446744073709551618}"#,
        ];
        for (at, one) in bodies.iter().enumerate() {
            for other in &bodies[at + 1..] {
                assert_ne!(text(one), text(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_left_out_at_the_top_only() {
        assert_eq!(text(r#"{"stream":true,"b":1,"a":2,"user":{"x":[1]}}"#), text(r#"{"a":2,"b":1}"#));
        assert_eq!(text(r#"{"stream":true}"#), text("{}"));
    }

    #[test]
    fn no_json_is_no_text_and_no_panic() {
        for json in
            ["", "{", "[1", "{\"a\"}", "{\"a\":}", "{\"a\":1}}", "\"\\", "{1:2}", "[1 2]", "{\"a\":1,}"]
        {
            assert_eq!(text(json), None, "{json}");
        }
        assert_eq!(text(&"[".repeat(100_000)), None);
    }
}
