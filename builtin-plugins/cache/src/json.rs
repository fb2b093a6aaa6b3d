//! The tokens of a JSON text: where they end.
//!
//! `canonical` and `shape` read with it. Deliberately absent: a check of what the host has checked already. For a text that is
//! not JSON, a function returns `None` or a position in the text.

use wide::u8x16;

/// The deepest nesting that is read.
pub(crate) const MAX_DEPTH: usize = 128;

/// A JSON text. The functions take a position in it.
#[derive(Clone, Copy)]
pub(crate) struct Json<'t>(pub(crate) &'t [u8]);

/// A string: its end, and whether it has escapes.
#[derive(Clone, Copy)]
pub(crate) struct Quoted {
    pub(crate) end: usize,
    pub(crate) is_escaped: bool,
}

impl Json<'_> {
    #[inline]
    pub(crate) fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// Returns the position of the first byte at or after `at` that is not white space.
    #[inline]
    pub(crate) fn space(self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte(at) {
            at += 1;
        }
        at
    }

    /// Returns the string that starts at `start`.
    #[inline]
    pub(crate) fn string(self, start: usize) -> Option<Quoted> {
        let (mut at, mut is_escaped) = (start + 1, false);
        while let Some(&block) = self.0.get(at..)?.first_chunk() {
            let block = u8x16::new(block);
            let marks = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'));
            let mut marks = marks.to_bitmask();
            if marks == 0 {
                at += 16 + memchr::memchr2(b'"', b'\\', &self.0[at + 16..])?;
                marks = 1;
            }
            while marks != 0 {
                let distance = marks.trailing_zeros();
                at += distance as usize;
                if self.0[at] == b'"' {
                    return Some(Quoted { end: at + 1, is_escaped });
                }
                is_escaped = true;
                // The byte after a backslash never ends the string.
                at += 2;
                marks = marks >> distance >> 2;
            }
        }
        loop {
            match self.byte(at)? {
                b'"' => return Some(Quoted { end: at + 1, is_escaped }),
                b'\\' => {
                    is_escaped = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }

    /// Returns the end of the number, boolean or `null` that starts at `at`.
    #[inline]
    pub(crate) fn scalar(self, at: usize) -> Option<usize> {
        let rest = &self.0[at..];
        let is_end =
            |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        (length > 0).then_some(at + length)
    }

    /// Returns the name of a member that starts at `at`, and the position of the colon after it.
    #[inline]
    pub(crate) fn name(self, at: usize) -> Option<(Quoted, usize)> {
        if self.byte(at)? != b'"' {
            return None;
        }
        let name = self.string(at)?;
        let colon = self.space(name.end);
        (self.byte(colon)? == b':').then_some((name, colon))
    }
}
