//! Tests of the command line, and of the commands that the documents show.

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn a_library_may_bring_its_configuration() {
    let parsed = library_and_config(r#"a=b.so={"x": 1}"#).expect("parsed");
    assert_eq!(parsed, ("a=b.so".into(), serde_json::json!({"x": 1})));
    assert!(library_and_config("a.so={x").is_err());
}

/// The words of a command, as a shell splits them; of several commands, the first.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match c {
            _ if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ' ' if quote.is_none() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let end = words.iter().position(|word| matches!(&**word, "|" | "&&" | "&" | ">" | "#"));
    words.truncate(end.unwrap_or(words.len()));
    words
}

#[test]
fn every_command_that_the_documents_show_is_one() {
    let mut shown = 0;
    for block in llmux_testing::blocks::blocks(&["sh", "console", "text"]) {
        for line in block.text.lines() {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let starts = ["llmux ", "target/release/llmux "];
            let Some(at) = starts.iter().filter_map(|start| line.find(start)).min() else { continue };
            // A line of output may begin with the program's name, too: `llmux: …`, `llmux 0.1.0 listens`.
            let is_command = at == 0 || line[..at].ends_with("&& ");
            if !is_command || line.contains(" listens on ") {
                continue;
            }
            let parsed = Cli::try_parse_from(words(&line[at..]));
            assert!(parsed.is_ok(), "{block}: {line}\n{}", parsed.err().expect("wrong"));
            shown += 1;
        }
    }
    assert!(shown > 10, "only {shown} commands were found");
}
