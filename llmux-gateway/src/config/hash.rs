//! SHA-256 hashes of secrets and libraries, which the configuration writes as 64 hexadecimal digits.
//!
//! `client` checks the hashes of libraries with it, and the lists of keys and tokens those of secrets.

use llmux_terminal::Result;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::file::Loaded;

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// Returns the hash of a key or token.
pub(crate) fn of(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Parses 64 hexadecimal digits.
pub(crate) fn parse(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(hash)
}

/// Parses a hash in the configuration.
///
/// # Errors
///
/// Names the place in the file if the text is not 64 hexadecimal digits.
pub(crate) fn check(loaded: &Loaded, text: &Spanned<String>) -> Result<Hash> {
    parse(text.get_ref()).ok_or_else(|| {
        loaded.problem(Some(text.span()), "a SHA-256 is 64 hexadecimal digits, as `sha256sum` prints it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        assert_eq!(parse(&"0aF".repeat(22)[..64]).map(|hash| hash[0]), Some(0x0a));
        assert_eq!(parse("00"), None);
        assert_eq!(parse(&"zz".repeat(32)), None);
    }
}
