//! The differences between two configurations, as an operator reads them, and the members that need a restart.
//!
//! `reload` reports them. Deliberately absent: the changes of plugins that follow, which `llmux-core` plans from what the
//! file names and what runs.

use serde::Serialize;
use toml::{Table, Value};

/// One difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// The table, as `plugin` or `retry`.
    what: String,
    /// Which of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `added`, `removed` or `changed`.
    change: &'static str,
    /// The members that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, name, change, members } = self;
        write!(f, "{what}")?;
        if let Some(name) = name {
            write!(f, " `{name}`")?;
        }
        write!(f, " {change}")?;
        if !members.is_empty() {
            write!(f, " ({})", members.join(", "))?;
        }
        Ok(())
    }
}

/// Tables that occur several times, with the member that identifies each.
const LISTS: [(&str, &str); 5] = [
    ("provider", "name"),
    ("fallback", "model"),
    ("plugin", "name"),
    ("api_key", "id"),
    ("admin_token", "name"),
];

/// Tables that occur once.
const TABLES: [&str; 6] = ["server", "log", "routing", "retry", "pipeline", "plugins"];

/// Members that take effect after a restart: the listeners, the ids of responses, and the writer of the log.
const RESTART: [(&str, &str); 4] =
    [("server", "listen"), ("server", "admin"), ("server", "response_id_secret"), ("log", "format")];

/// Returns the differences that take effect at once.
pub(crate) fn lines(old: &Table, new: &Table) -> Vec<Line> {
    let mut lines = Vec::new();
    for (what, key) in LISTS {
        let (old, new) = (named(old, what, key), named(new, what, key));
        let line = |name: &str, change, members| Line {
            what: what.to_owned(),
            name: Some(name.to_owned()),
            change,
            members,
        };
        for (name, table) in &new {
            match old.iter().find(|(other, _)| other == name) {
                None => lines.push(line(name, "added", Vec::new())),
                Some((_, before)) if before == table => {}
                Some((_, before)) => lines.push(line(name, "changed", members(before, table))),
            }
        }
        let gone = old.iter().filter(|(name, _)| !new.iter().any(|(other, _)| other == name));
        lines.extend(gone.map(|(name, _)| line(name, "removed", Vec::new())));
    }
    for what in TABLES {
        let members = table_members(old, new, what).into_iter();
        let members: Vec<_> = members.filter(|member| !RESTART.contains(&(what, member))).collect();
        if !members.is_empty() {
            lines.push(Line { what: what.to_owned(), name: None, change: "changed", members });
        }
    }
    lines
}

/// Adds the files of a provider that have other contents, by the members that name them.
pub(crate) fn add_files(lines: &mut Vec<Line>, provider: &str, files: Vec<&str>) {
    let is_its = |line: &&mut Line| line.what == "provider" && line.name.as_deref() == Some(provider);
    let files = files.into_iter().map(str::to_owned);
    match lines.iter_mut().find(is_its) {
        Some(line) => {
            line.members.extend(files);
            line.members.sort();
            line.members.dedup();
        }
        None => lines.push(Line {
            what: "provider".to_owned(),
            name: Some(provider.to_owned()),
            change: "changed",
            members: files.collect(),
        }),
    }
}

/// Returns the members that take effect after a restart: those that differ from the configuration at the start.
pub(crate) fn restart(started: &Table, new: &Table) -> Vec<String> {
    let differs =
        |what: &str, member: &str| table_members(started, new, what).iter().any(|changed| changed == member);
    let waiting = RESTART.iter().filter(|(what, member)| differs(what, member));
    waiting.map(|(what, member)| format!("{what}.{member}")).collect()
}

fn named<'a>(table: &'a Table, what: &str, key: &str) -> Vec<(&'a str, &'a Table)> {
    let list = table.get(what).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_table).filter_map(|it| Some((it.get(key)?.as_str()?, it))).collect()
}

fn table_members(old: &Table, new: &Table, what: &str) -> Vec<String> {
    let empty = Table::new();
    let of = |table: &'_ Table| table.get(what).and_then(Value::as_table).cloned();
    members(&of(old).unwrap_or_else(|| empty.clone()), &of(new).unwrap_or(empty))
}

fn members(old: &Table, new: &Table) -> Vec<String> {
    let mut names: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let table = |text: &str| text.parse::<Table>().expect("TOML");
        let (old, new) = (table(old), table(new));
        (lines(&old, &new).iter().map(Line::to_string).collect(), restart(&old, &new))
    }

    #[test]
    fn every_difference_is_named() {
        let old = "[[plugin]]\nname='a'\npriority=1\n[[plugin]]\nname='b'\n[retry]\nmax_retries=1";
        let new = "[[plugin]]\nname='a'\npriority=2\n[[plugin]]\nname='c'\n[retry]\nmax_retries=2";
        let expected = [
            "plugin `a` changed (priority)",
            "plugin `c` added",
            "plugin `b` removed",
            "retry changed (max_retries)",
        ];
        assert_eq!(said(old, new), (expected.map(str::to_owned).to_vec(), Vec::new()));
        assert_eq!(said(old, old), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_needs_a_restart_is_told_apart() {
        let old = "[server]\nlisten='a'\nmax_body_bytes=1\n[pipeline]\nmax_plugins=1\npre_hook_timeout='1s'";
        let new = "[server]\nlisten='b'\nmax_body_bytes=2\n[log]\nformat='json'\n[pipeline]\nmax_plugins=2\npre_hook_timeout='2s'\n[plugins]\ndirs=['x']";
        let (lines, restart) = said(old, new);
        let expected = [
            "server changed (max_body_bytes)",
            "pipeline changed (max_plugins, pre_hook_timeout)",
            "plugins changed (dirs)",
        ];
        assert_eq!(lines, expected);
        assert_eq!(restart, ["server.listen", "log.format"]);
    }
}
