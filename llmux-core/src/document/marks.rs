//! Marks of the bytes that end the plain part of a string: quotes, backslashes and control characters.
//!
//! `token` finds the end of strings with them. The text is marked in blocks of 64 bytes, with vectors of 16 bytes, which
//! every 64-bit processor has. The marks of a block are kept from one string to the next: to find a string's end is then
//! a few instructions on one word, and marking the next block does not wait for that end.

use wide::u8x16;

/// Number of bytes that are marked together, one bit for each.
const BLOCK: usize = 64;

/// The marks of one block of a text.
pub(super) struct Marks {
    /// Position of the block.
    start: usize,
    /// One bit for each byte, the first one's lowest.
    bits: u64,
}

impl Marks {
    pub(super) fn new(text: &[u8]) -> Self {
        Self { start: 0, bits: marks_of_block(text, 0) }
    }

    /// Returns the position of the first marked byte at or after `at`; the length of the text or more if there is none.
    #[inline(always)]
    pub(super) fn next(&mut self, text: &[u8], at: usize) -> usize {
        let offset = at.wrapping_sub(self.start);
        if offset < BLOCK {
            let bits = self.bits >> offset;
            if bits != 0 {
                return at + bits.trailing_zeros() as usize;
            }
        }
        self.next_block(text, at)
    }

    /// As `next`, if the block has no mark there.
    fn next_block(&mut self, text: &[u8], at: usize) -> usize {
        let next = self.start + BLOCK;
        // Usually it is the block after this one. Its marks do not depend on `at`, so that the processor need not wait for it.
        if at.wrapping_sub(self.start) < 2 * BLOCK {
            self.start = next;
            self.bits = marks_of_block(text, next);
            let before = at.saturating_sub(next);
            let bits = self.bits >> before << before;
            if bits != 0 {
                return next + bits.trailing_zeros() as usize;
            }
            self.start += BLOCK;
        } else {
            self.start = at;
        }
        self.start += plain(text, self.start);
        self.bits = marks_of_block(text, self.start);
        self.start + self.bits.trailing_zeros() as usize
    }
}

/// Returns the length of the blocks without a mark at `at`.
#[inline]
fn plain(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let is_plain = |block: &&[u8; BLOCK]| {
        let any = block.as_chunks().0.iter().fold(u8x16::splat(0), |any, &part| any | special(part));
        any.to_bitmask() == 0
    };
    rest.as_chunks().0.iter().take_while(is_plain).count() * BLOCK
}

/// The marks of the block at `at`. Everything after the end of the text is marked.
#[inline]
fn marks_of_block(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return marks(block);
    }
    let bits = match text.last_chunk() {
        Some(block) => marks(block).checked_shr((BLOCK - rest.len()) as u32).unwrap_or(0),
        None => {
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            marks(&block)
        }
    };
    bits | u64::MAX << rest.len()
}

#[inline]
fn marks(block: &[u8; BLOCK]) -> u64 {
    let parts = block.as_chunks().0.iter().rev();
    parts.fold(0, |bits, &part| bits << 16 | u64::from(special(part).to_bitmask()))
}

/// Sets the lanes of quotes, backslashes and control characters.
#[inline]
fn special(bytes: [u8; 16]) -> u8x16 {
    let bytes = u8x16::new(bytes);
    let is_quote = bytes.simd_eq(u8x16::splat(b'"'));
    let is_backslash = bytes.simd_eq(u8x16::splat(b'\\'));
    let is_control = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    is_quote | is_backslash | is_control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_mark_is_found_from_every_position() {
        for length in (0..200).chain([1000]) {
            for distance in [1, 7, 40, 64, 65, 130, 500] {
                let special = |at: usize| [b'"', b'\\', 0, 0x1f][at % 4];
                let text: Vec<u8> = (0..length)
                    .map(|at| {
                        if at % distance == distance - 1 {
                            special(at)
                        } else {
                            [b'x', 0x20, 0x7f, 0xff][at % 4]
                        }
                    })
                    .collect();
                let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
                for step in [1, 3, 63, 64, 100] {
                    let mut marks = Marks::new(&text);
                    for at in (0..=length).step_by(step) {
                        let expected =
                            text[at..].iter().position(is_special).map_or(length, |distance| at + distance);
                        assert_eq!(
                            marks.next(&text, at).min(length),
                            expected,
                            "{length} {distance} {step} {at}"
                        );
                    }
                }
            }
        }
    }
}
