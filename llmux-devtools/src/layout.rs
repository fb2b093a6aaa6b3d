//! Layout of JSON for people, and the difference of two JSON texts line by line.
//!
//! `try_plugin` shows documents with it. Members keep their order, and numbers stay as they are written. An object or array
//! that fits into a line is one line. Commas do not count as differences, so a new last element changes no other line.

use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

use llmux_terminal::{Tone, paint};

/// Largest width of an object or array in one line, in characters.
const NARROW: usize = 88;
/// Largest length of a line before its end is left out, in characters.
const WIDE: usize = 240;
/// Number of equal lines shown around different ones.
const CONTEXT: usize = 2;

/// JSON text, split into its parts.
enum Node<'t> {
    Scalar(&'t str),
    /// The brackets, and what is between them, each with its key.
    Parts([char; 2], Vec<(Option<&'t str>, Node<'t>)>),
}

/// Returns the lines of a JSON text; the outermost object or array always takes several. Text that is not JSON gives
/// lines, too.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let mut rest = text;
    let node = node(&mut rest);
    let mut lines = Vec::new();
    open(&node, "", 0, "", &mut lines);
    lines
}

/// Returns the lines that differ: removed lines with a `-`, added ones with a `+`, and a few equal ones around them. Empty
/// if no line differs.
pub(crate) fn difference(before: &[String], after: &[String], colors: bool) -> String {
    let bare = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.strip_suffix(',').unwrap_or(line).to_owned()).collect()
    };
    let ops = capture_diff_slices(Algorithm::Myers, &bare(before), &bare(after));
    if ops.iter().all(|op| matches!(op, DiffOp::Equal { .. })) {
        return String::new();
    }
    let mut shown = String::new();
    let mut show = |sign: char, lines: &[String], tone| {
        for line in lines {
            shown.push_str(&paint(format!("  {sign} {}", cut(line)).trim_end(), tone, colors));
            shown.push('\n');
        }
    };
    for (at, group) in group_diff_ops(ops, CONTEXT).iter().enumerate() {
        if at > 0 {
            show(' ', &["...".to_owned()], Tone::Muted);
        }
        for op in group {
            let (old, new) = (&before[op.old_range()], &after[op.new_range()]);
            match op {
                DiffOp::Equal { .. } => show(' ', new, Tone::Muted),
                _ => {
                    show('-', old, Tone::Bad);
                    show('+', new, Tone::Good);
                }
            }
        }
    }
    shown
}

/// Returns a line for each chunk, before the plugin and behind it, without the members that are equal in all chunks, such
/// as the id and the model.
pub(crate) fn chunk_lines(chunks: &[Vec<(String, String)>; 2]) -> [Vec<String>; 2] {
    let nodes = chunks.each_ref().map(|chunks| -> Vec<(&str, Node<'_>)> {
        chunks.iter().map(|(event, data)| (&**event, node(&mut &**data))).collect()
    });
    let all = || nodes.iter().flatten();
    let is_shared = |key: Option<&str>, value: &Node<'_>| {
        let same = |part: &(Option<&str>, Node<'_>)| part.0 == key && text(&part.1) == text(value);
        all().count() > 1
            && all().all(|(_, chunk)| matches!(chunk, Node::Parts(_, parts) if parts.iter().any(same)))
    };
    nodes.each_ref().map(|chunks| {
        let line = |(event, chunk): &(&str, Node<'_>)| {
            let shown = match chunk {
                Node::Parts(['{', _], parts) => {
                    let own = parts.iter().filter(|(key, value)| !is_shared(*key, value));
                    let own = own.map(|(key, value)| format!("{}: {}", key.unwrap_or_default(), text(value)));
                    format!("{{{}}}", own.collect::<Vec<_>>().join(", "))
                }
                other => text(other),
            };
            if event.is_empty() { shown } else { format!("{event}: {shown}") }
        };
        chunks.iter().map(line).collect()
    })
}

fn text(node: &Node<'_>) -> String {
    let mut text = String::new();
    line(node, &mut text);
    text
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDE) {
        Some((at, _)) => format!("{}... ({} more bytes)", &line[..at], line.len() - at),
        None => line.to_owned(),
    }
}

/// Reads the next value, and leaves the text behind it in `rest`.
fn node<'t>(rest: &mut &'t str) -> Node<'t> {
    *rest = rest.trim_start();
    let brackets = match rest.chars().next() {
        Some('{') => ['{', '}'],
        Some('[') => ['[', ']'],
        Some('"') => return Node::Scalar(string(rest)),
        _ => {
            let end = rest.find([',', '}', ']']).unwrap_or(rest.len());
            let (scalar, behind) = rest.split_at(end);
            *rest = behind;
            return Node::Scalar(scalar.trim());
        }
    };
    let mut parts = Vec::new();
    *rest = &rest[1..];
    loop {
        *rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        match rest.strip_prefix(brackets[1]) {
            Some(behind) => {
                *rest = behind;
                return Node::Parts(brackets, parts);
            }
            None if rest.is_empty() => return Node::Parts(brackets, parts),
            None => {}
        }
        let key = (brackets[0] == '{').then(|| {
            let key = string(rest);
            *rest = rest.trim_start().trim_start_matches(':');
            key
        });
        let left = rest.len();
        parts.push((key, node(rest)));
        if rest.len() == left {
            // Not JSON: a bracket that nothing opened.
            *rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        }
    }
}

/// Reads the next string, with its quotes.
fn string<'t>(rest: &mut &'t str) -> &'t str {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, char)| {
        let ends = *char == '"' && !escaped;
        escaped = *char == '\\' && !escaped;
        ends
    });
    let (string, behind) = rest.split_at(end.map_or(rest.len(), |(at, _)| at + 1));
    *rest = behind;
    string
}

/// Writes the node into one line.
fn line(node: &Node<'_>, out: &mut String) {
    match node {
        Node::Scalar(text) => out.push_str(text),
        Node::Parts([begin, end], parts) => {
            out.push(*begin);
            for (at, (key, part)) in parts.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                if let Some(key) = key {
                    out.push_str(key);
                    out.push_str(": ");
                }
                line(part, out);
            }
            out.push(*end);
        }
    }
}

fn put(node: &Node<'_>, key: &str, depth: usize, comma: &str, lines: &mut Vec<String>) {
    let mut all = format!("{:1$}{key}", "", depth * 2);
    line(node, &mut all);
    match node {
        Node::Parts(_, parts) if all.chars().count() > NARROW && !parts.is_empty() => {
            open(node, key, depth, comma, lines);
        }
        _ => lines.push(all + comma),
    }
}

/// Writes a line for each part of the node.
fn open(node: &Node<'_>, key: &str, depth: usize, comma: &str, lines: &mut Vec<String>) {
    let indent = " ".repeat(depth * 2);
    let Node::Parts([begin, end], parts) = node else { return put(node, key, depth, comma, lines) };
    lines.push(format!("{indent}{key}{begin}"));
    for (at, (key, part)) in parts.iter().enumerate() {
        let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
        put(part, &key, depth + 1, if at + 1 < parts.len() { "," } else { "" }, lines);
    }
    lines.push(format!("{indent}{end}{comma}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_numbers_and_strings_stay_as_they_are_written() {
        let text = r#"{"z":1.50,"a":[1e3,"x, \"y\" }"],"empty":{},"nested":{"b":null}}"#;
        let expected = [
            "{",
            r#"  "z": 1.50,"#,
            r#"  "a": [1e3, "x, \"y\" }"],"#,
            r#"  "empty": {},"#,
            r#"  "nested": {"b": null}"#,
            "}",
        ];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn a_part_that_does_not_fit_into_a_line_takes_several() {
        let long = "x".repeat(NARROW);
        let text = format!(r#"{{"a":[{{"b":"{long}"}},2]}}"#);
        assert_eq!(lines(&text).len(), 8, "{:#?}", lines(&text));
    }

    #[test]
    fn a_new_last_element_changes_no_other_line() {
        let (before, after) = (lines(r#"{"a": 1, "b": 2}"#), lines(r#"{"a": 1, "b": 2, "c": 3}"#));
        let shown = difference(&before, &after, false);
        assert_eq!(shown, "      \"a\": 1,\n      \"b\": 2,\n  +   \"c\": 3\n    }\n");
        assert_eq!(difference(&before, &lines(r#"{"a":1,"b":2}"#), false), "");
    }

    #[test]
    fn text_that_is_not_json_is_laid_out_too() {
        for text in ["", "]", "{]", "[}", "{\"a", "plain words", "[1, }, 2]"] {
            lines(text);
        }
    }
}
