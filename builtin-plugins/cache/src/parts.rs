//! Pieces of a text, copied together into parts that are long enough for a hash to be fast.
//!
//! `key` hashes the pieces of `canonical` in this way. Long pieces are not copied.

/// Number of bytes of a part. BLAKE3 hashes as many at a time with the widest vectors.
const PART: usize = 16 << 10;

/// Calls `update` with the bytes of the pieces: with multiples of `PART` bytes, and with the rest.
pub(crate) fn for_each_part<'t>(pieces: impl Iterator<Item = &'t [u8]>, mut update: impl FnMut(&[u8])) {
    let mut part = Vec::with_capacity(PART);
    for mut piece in pieces {
        if !part.is_empty() && part.len() + piece.len() >= PART {
            let (end, rest) = piece.split_at(PART - part.len());
            part.extend_from_slice(end);
            update(&part);
            part.clear();
            piece = rest;
        }
        if piece.len() >= PART {
            let (parts, rest) = piece.split_at(piece.len() / PART * PART);
            update(parts);
            piece = rest;
        }
        part.extend_from_slice(piece);
    }
    update(&part);
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn parts_have_the_bytes_of_the_pieces(lengths in vec(0..40_000_usize, 0..6)) {
            let pieces: Vec<Vec<u8>> = lengths.iter().zip(0..).map(|(&length, byte)| vec![byte; length]).collect();
            let (mut bytes, mut parts) = (Vec::new(), Vec::new());
            for_each_part(pieces.iter().map(Vec::as_slice), |part| {
                bytes.extend_from_slice(part);
                parts.push(part.len());
            });
            prop_assert!(bytes == pieces.concat());
            parts.pop();
            prop_assert!(parts.iter().all(|length| length % PART == 0), "{:?}", parts);
        }
    }

    #[test]
    fn a_long_piece_after_a_short_one_is_not_copied() {
        let (short, long) = (vec![0; 1], vec![1; 10 * PART]);
        let mut parts = Vec::new();
        for_each_part([&*short, &long].into_iter(), |part| {
            parts.push((part.len(), long.as_ptr_range().contains(&part.as_ptr())))
        });
        assert_eq!(parts, [(PART, false), (9 * PART, true), (1, false)]);
    }
}
