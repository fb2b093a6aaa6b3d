//! Finds emails, phone numbers and card numbers, by hand: a library of patterns would weigh more than the plugin.

/// The first match in a text: where it starts, where it ends, and what it is.
pub(super) fn find(text: &str) -> Option<(usize, usize, &'static str)> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find_map(|at| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let email = || email(bytes, at).map(|end| (at, end, "EMAIL"));
        let number = || number(bytes, at).map(|(end, kind)| (at, end, kind));
        // Neither begins in the middle of a word.
        let email = if before.is_none_or(|byte| !is_local(byte)) { email() } else { None };
        email
            .or_else(|| if before.is_none_or(|byte| !byte.is_ascii_alphanumeric()) { number() } else { None })
    })
}

/// A byte of what stands before an `@`.
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte)
}

/// Where the email address ends that starts here: `local@label.label`, the last label of two letters or more.
fn email(bytes: &[u8], start: usize) -> Option<usize> {
    let local = bytes[start..].iter().take_while(|byte| is_local(**byte)).count();
    let at = start + local;
    if local == 0 || bytes.get(at) != Some(&b'@') {
        return None;
    }
    let domain = &bytes[at + 1..];
    let len =
        domain.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)).count();
    // A sentence may end with the address.
    let len = domain[..len].iter().rposition(u8::is_ascii_alphanumeric)? + 1;
    let last = domain[..len].iter().rposition(|byte| *byte == b'.')? + 1;
    (last > 1 && len - last >= 2).then_some(at + 1 + len)
}

/// Where the longest phone or card number ends that starts here: groups of digits, with a separator or two between.
fn number(bytes: &[u8], start: usize) -> Option<(usize, &'static str)> {
    let plus = bytes[start] == b'+';
    if !plus && bytes[start] != b'(' && !bytes[start].is_ascii_digit() {
        return None;
    }
    let (mut at, mut digits, mut groups, mut found) = (start + usize::from(plus), vec![], vec![], None);
    loop {
        let between = bytes[at..].iter().take(2).take_while(|byte| b" -.()".contains(byte)).count();
        let group = bytes[at + between..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if group == 0 || digits.len() + group > 19 {
            return found;
        }
        digits.extend(bytes[at + between..][..group].iter().map(|byte| u32::from(byte - b'0')));
        groups.push(group);
        at += between + group;
        if bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
            return found;
        }
        // `+` and 8 to 15 digits (E.164), or 555-123-4567.
        if plus && (8..=15).contains(&digits.len()) || matches!(groups[..], [3, 3, 4] | [1, 3, 3, 4]) {
            found = Some((at, "PHONE"));
        } else if !plus && digits.len() >= 13 && (3..=6).contains(&digits[0]) && luhn(&digits) {
            found = Some((at, "CARD"));
        }
    }
}

/// The check digit of card numbers (ISO/IEC 7812-1).
fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit })
        .sum();
    sum.is_multiple_of(10)
}
