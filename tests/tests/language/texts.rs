//! The texts that people read in a file: documentation comments and error messages of Rust files, headings and paragraphs of
//! Markdown documents.
//!
//! `main` and `table` call it, `rules` judges the texts. Code blocks are left out.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The kind of a text, which decides the rules for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first paragraph of a documentation comment.
    Summary,
    /// Another paragraph of one, or of a document.
    Paragraph,
    /// An item of a list.
    Item,
    /// A cell of a table.
    Cell,
    /// A heading.
    Heading,
    /// The message of an error type.
    Message,
}

/// A text and its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// The texts of a Rust file, in macros, too.
///
/// # Errors
///
/// If the file has no tokens of Rust.
pub(crate) fn of_rust(source: &str) -> Result<Vec<Text>, String> {
    let tokens = TokenStream::from_str(source).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    comments(tokens, &mut found);
    Ok(found)
}

fn comments(tokens: TokenStream, found: &mut Vec<Text>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    // The lines of the comment that is being read, and whether it is an inner one.
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut was_inner = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let (attribute, is_inner, next) = match (token, tokens.get(at + 1), tokens.get(at + 2)) {
            (TokenTree::Punct(hash), Some(TokenTree::Group(group)), _) if hash.as_char() == '#' => {
                (Some(group), false, at + 2)
            }
            (TokenTree::Punct(hash), Some(TokenTree::Punct(bang)), Some(TokenTree::Group(group)))
                if hash.as_char() == '#' && bang.as_char() == '!' =>
            {
                (Some(group), true, at + 3)
            }
            _ => (None, false, at + 1),
        };
        let attribute = attribute.filter(|group| group.delimiter() == Delimiter::Bracket);
        match attribute.and_then(comment) {
            Some(line) => {
                if is_inner != was_inner {
                    end_comment(&mut lines, found);
                }
                was_inner = is_inner;
                lines.push((token.span().start().line, line));
            }
            None => {
                if attribute.is_none() {
                    end_comment(&mut lines, found);
                }
                found.extend(attribute.and_then(message));
                for token in &tokens[at..next] {
                    if let TokenTree::Group(group) = token {
                        comments(group.stream(), found);
                    }
                }
            }
        }
        at = next;
    }
    end_comment(&mut lines, found);
}

/// The text of `doc = "…"`.
fn comment(attribute: &Group) -> Option<String> {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Literal(text)] if name == "doc" => {
            value(text)
        }
        _ => None,
    }
}

/// The text of `error("…")`.
fn message(attribute: &Group) -> Option<Text> {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(name), TokenTree::Group(arguments)] if name == "error" => {
            match arguments.stream().into_iter().next()? {
                TokenTree::Literal(text) => {
                    let line = text.span().start().line;
                    Some(Text { line, kind: Kind::Message, text: value(&text)? })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn value(literal: &proc_macro2::Literal) -> Option<String> {
    syn::parse_str::<syn::LitStr>(&literal.to_string()).ok().map(|literal| literal.value())
}

fn end_comment(lines: &mut Vec<(usize, String)>, found: &mut Vec<Text>) {
    let lines = std::mem::take(lines).into_iter().flat_map(|(line, text)| {
        // One attribute may hold several lines.
        let lines: Vec<_> = text.lines().enumerate().map(|(at, text)| (line + at, text.to_owned())).collect();
        if lines.is_empty() { vec![(line, String::new())] } else { lines }
    });
    let mut texts = of_lines(lines);
    if let Some(first) = texts.first_mut().filter(|text| text.kind == Kind::Paragraph) {
        first.kind = Kind::Summary;
    }
    found.append(&mut texts);
}

/// The texts of a Markdown document.
pub(crate) fn of_markdown(source: &str) -> Vec<Text> {
    of_lines(source.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())))
}

fn of_lines(lines: impl IntoIterator<Item = (usize, String)>) -> Vec<Text> {
    let mut found: Vec<Text> = Vec::new();
    let mut is_code = false;
    let mut goes_on = false;
    for (line, text) in lines {
        let text = text.trim();
        if text.starts_with("```") {
            is_code = !is_code;
            goes_on = false;
            continue;
        }
        if is_code || text.is_empty() {
            goes_on = false;
            continue;
        }
        let of = |kind, text: &str| Text { line, kind, text: text.to_owned() };
        if let Some(heading) = text.strip_prefix('#').filter(|_| !text.starts_with("#[")) {
            found.push(of(Kind::Heading, heading.trim_start_matches('#').trim()));
            goes_on = false;
        } else if text.starts_with('|') {
            let cells = text.split('|').map(str::trim).filter(|cell| !cell.is_empty());
            found.extend(cells.map(|cell| of(Kind::Cell, cell)));
            goes_on = false;
        } else if let Some(item) = item(text) {
            found.push(of(Kind::Item, item));
            goes_on = true;
        } else if goes_on && let Some(last) = found.last_mut() {
            last.text.push(' ');
            last.text.push_str(text);
        } else {
            found.push(of(Kind::Paragraph, text));
            goes_on = true;
        }
    }
    found
}

/// The text of an item of a list.
fn item(text: &str) -> Option<&str> {
    let numbered = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = (numbered.len() < text.len()).then(|| numbered.strip_prefix(". ")).flatten();
    ["- ", "* ", "> "].into_iter().find_map(|mark| text.strip_prefix(mark)).or(numbered)
}
