//! Suspicion of duplicate keys: a visitor that reports whether any object of a text may have a key twice, at any depth.
//!
//! `node` parses with it. Most texts are then known to be clean before a plugin reads them, and reading needs no scan.
//!
//! Keys are compared by prints of 64 bits within their object, in memory of a fixed size. A suspicion is no proof: prints
//! may collide. A key with an escape, an irregular place, and an object of more than about a hundred keys are always
//! suspected. `clean` scans a suspected text when it is read, and compares exactly. A client that chooses keys whose prints
//! collide gains nothing but this scan.
//!
//! The comparison costs a sixth of the scan that parses. To scan once more at the first read cost as much as parsing. The
//! comparison is therefore part of parsing, although some texts are never read as a whole.

use super::token::{Irregular, Quoted, Visitor};

/// Maximum number of the keys of all objects that are open at a time, counting these objects too.
const ROOM: usize = 128;

/// Compares the keys of each object during a scan. After a suspicion it does nothing.
pub(super) struct Repeats {
    /// True if irregular places are accepted.
    is_lenient: bool,
    is_suspected: bool,
    /// For each open object the value of `object` before it, and then the prints of its keys.
    stack: [u64; ROOM],
    end: usize,
    /// The innermost object: in the lowest byte the position in the stack of its first print, above it a filter with a bit
    /// for most prints. Only a print whose bit is set is compared with the others.
    object: u64,
}

impl Repeats {
    pub(super) fn new(is_lenient: bool) -> Self {
        Self { is_lenient, is_suspected: false, stack: [0; ROOM], end: 0, object: 0 }
    }

    #[inline]
    fn push(&mut self, value: u64) {
        match self.stack.get_mut(self.end) {
            Some(free) => {
                *free = value;
                self.end += 1;
            }
            None => self.is_suspected = true,
        }
    }

    fn start(&self) -> usize {
        usize::from(self.object as u8)
    }
}

impl Visitor for Repeats {
    #[inline]
    fn object_starts(&mut self) {
        self.push(self.object);
        self.object = self.end as u64;
    }

    #[inline]
    fn key(&mut self, key: Quoted, print: u64) {
        if self.is_suspected {
            return;
        }
        // One of 56 bits, by the highest bits of the print.
        let bit = 0x100 << (((print >> 32) * 56) >> 32);
        if key.escaped || (self.object & bit != 0 && self.stack[self.start()..self.end].contains(&print)) {
            self.is_suspected = true;
        }
        self.object |= bit;
        self.push(print);
    }

    #[inline]
    fn object_ends(&mut self) {
        if !self.is_suspected {
            self.end = self.start() - 1;
            self.object = self.stack[self.end];
        }
    }

    fn is_clean(&self) -> bool {
        !self.is_suspected
    }

    fn irregular(&mut self, _place: Irregular) -> bool {
        self.is_suspected = true;
        self.is_lenient
    }
}

#[cfg(test)]
mod tests {
    use super::{super::scan, *};

    fn is_clean(text: &str) -> bool {
        let mut repeats = Repeats::new(true);
        scan::whole(text.as_bytes(), scan::MAX_DEPTH, &mut repeats).expect("JSON");
        repeats.is_clean()
    }

    fn object(keys: usize) -> String {
        let members: Vec<String> =
            (0..keys).map(|key| format!(r#""a long name of key {key}":{key}"#)).collect();
        format!("{{{}}}", members.join(","))
    }

    #[test]
    fn a_text_without_repeated_keys_is_known_to_be_clean() {
        for text in [
            "1",
            "[]",
            "{}",
            r#"{"a":{"a":{"a":1,"b":2},"b":{"a":3}},"b":[{"a":1},{"a":2}]}"#,
            r#"{"max_completion_tokens":1,"max_completion_token":2,"max":3,"maxi":4,"":5}"#,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"\"b\""}],"model":"m"}"#,
        ] {
            assert!(is_clean(text), "{text}");
        }
        assert!(is_clean(&object(100)));
        let deep = format!(r#"{}1{}"#, r#"{"a":"#.repeat(scan::MAX_DEPTH), "}".repeat(scan::MAX_DEPTH));
        assert!(!is_clean(&deep), "more than there is room for");
        assert!(!is_clean(&object(200)), "more than there is room for");
    }

    #[test]
    fn a_repeated_key_is_suspected_at_every_place() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{"c":[]},"a":1}"#,
            r#"[{"b":{"a":{"x":1,"y":2,"x":3}}}]"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"tool","role":"user"}],"model":"m"}"#,
            r#"{"a name that is longer than a block":1,"a name that is longer than a block":2}"#,
            r#"[NaN]"#,
        ] {
            assert!(!is_clean(text), "{text}");
        }
        for keys in 1..130 {
            for key in 0..keys {
                let text = object(keys).replace('}', &format!(r#","a long name of key {key}":0}}"#));
                assert!(!is_clean(&text), "{text}");
            }
        }
    }
}
