//! One text for all spellings of a JSON body: members sorted by name, no white space.
//!
//! Called by `key` for every request, so it works on the text itself and builds no tree. Numbers and strings
//! keep their original text: two bodies of different meaning never have the same canonical text. Two spellings
//! of one number or one escape only cause a miss. The text comes from the host, which has checked that it is JSON
//! without duplicate members. For any other text the result is `None`, never a wrong text.

/// The deepest nesting of a body that is cached.
const MAX_DEPTH: usize = 128;

/// Returns the canonical text of a JSON object, without the top-level members that `leave_out` names.
pub(crate) fn canonical(json: &str, leave_out: &[&str]) -> Option<Vec<u8>> {
    let mut scan = Scan {
        text: json.as_bytes(),
        at: 0,
        out: Vec::with_capacity(json.len() + 16),
        members: Vec::new(),
        leave_out,
    };
    scan.value(0)?;
    scan.skip_space();
    (scan.at == scan.text.len()).then_some(scan.out)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// The members of the objects that are open, as positions in `out`.
    members: Vec<Member>,
    leave_out: &'a [&'a str],
}

#[derive(Clone, Copy)]
struct Member {
    start: usize,
    /// The end of the name, quotes included.
    name_end: usize,
    end: usize,
}

impl Scan<'_> {
    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Returns the next byte that is not white space and moves past it.
    fn next(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            _ if depth > MAX_DEPTH => None,
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            _ => self.scalar(),
        }
    }

    fn string(&mut self) -> Option<()> {
        if self.next()? != b'"' {
            return None;
        }
        let start = self.at - 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.text.get(self.at..)?)?;
            if self.text[self.at] == b'"' {
                break;
            }
            // The byte after a backslash never ends the string.
            self.at += 2;
        }
        self.at += 1;
        self.out.extend_from_slice(&self.text[start..self.at]);
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let is_end =
            |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        self.at += length;
        self.out.extend_from_slice(&rest[..length]);
        (length > 0).then_some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'[');
        if self.peek()? == b']' {
            self.at += 1;
            self.out.push(b']');
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            let byte = self.next()?;
            self.out.push(byte);
            match byte {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'{');
        let first = self.members.len();
        if self.peek()? == b'}' {
            self.at += 1;
            self.out.push(b'}');
            return Some(());
        }
        loop {
            self.skip_space();
            let start = self.out.len();
            self.string()?;
            let name_end = self.out.len();
            if self.next()? != b':' {
                return None;
            }
            self.out.push(b':');
            self.value(depth + 1)?;
            self.out.push(b',');
            if depth == 0 && self.is_left_out(start, name_end) {
                self.out.truncate(start);
            } else {
                self.members.push(Member { start, name_end, end: self.out.len() });
            }
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        self.sort(first);
        self.members.truncate(first);
        self.out.push(b'}');
        Some(())
    }

    fn is_left_out(&self, start: usize, name_end: usize) -> bool {
        let name = &self.out[start + 1..name_end - 1];
        self.leave_out.iter().any(|left_out| left_out.as_bytes() == name)
    }

    /// Sorts the members from `first` on. They are the last bytes of `out`.
    fn sort(&mut self, first: usize) {
        let out = &self.out;
        let members = &mut self.members[first..];
        let name = |member: &Member| &out[member.start..member.name_end];
        if members.is_sorted_by(|one, other| name(one) <= name(other)) {
            return;
        }
        let begin = members[0].start;
        members.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        let mut sorted = Vec::with_capacity(out.len() - begin);
        for member in members {
            sorted.extend_from_slice(&out[member.start..member.end]);
        }
        self.out.truncate(begin);
        self.out.extend_from_slice(&sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Option<String> {
        let out = canonical(json, &["stream", "user"])?;
        Some(String::from_utf8(out).expect("UTF-8 in, UTF-8 out"))
    }

    #[test]
    fn order_and_space_do_not_count_at_any_depth() {
        let one = r#"{"b": [1, {"y": "}\"", "x": null}], "a": {"d": 1.0, "c": -2e5}}"#;
        let other = "{\"a\":{\"c\":-2e5,\n\"d\":1.0},\t\"b\":[1,{\"x\":null,\"y\":\"}\\\"\"}]}";
        assert_eq!(text(one), text(other));
        assert_eq!(text(one).expect("JSON"), r#"{"a":{"c":-2e5,"d":1.0,},"b":[1,{"x":null,"y":"}\"",}],}"#);
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
