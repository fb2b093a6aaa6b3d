//! What is different between two configurations: told to the operator, and as the changes of plugins it takes.
//!
//! `reload` applies it. Compared is what the files say, not what runs: an instance that the admin API loaded,
//! changed or unloaded is left alone until the file says something else about it.

use llmux_core::plugins::{Change, Setting};
use llmux_terminal::Result;
use serde::Serialize;
use toml::{Table, Value};

use super::{
    client,
    file::{Instance, Loaded},
};

/// One thing that is different.
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

/// The tables that are there several times, and what tells one from another.
const LISTS: [(&str, &str); 5] = [
    ("provider", "name"),
    ("fallback", "model"),
    ("plugin", "name"),
    ("api_key", "id"),
    ("admin_token", "name"),
];

/// The tables that are there once, with the members that can change while the program runs, or cannot.
const TABLES: [(&str, Members); 5] = [
    ("server", Members::Only(&["max_body_bytes"])),
    ("log", Members::Only(&[])),
    ("retry", Members::AllBut(&[])),
    // What an instance is made with is taken once.
    ("pipeline", Members::AllBut(&["max_plugins", "propagate_errors"])),
    ("plugins", Members::Only(&[])),
];

enum Members {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Members {
    fn can_change(&self, member: &str) -> bool {
        match self {
            Members::Only(names) => names.contains(&member),
            Members::AllBut(names) => !names.contains(&member),
        }
    }
}

/// What takes effect now.
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
    for (what, can) in TABLES {
        let members: Vec<_> =
            table_members(old, new, what).into_iter().filter(|it| can.can_change(it)).collect();
        if !members.is_empty() {
            lines.push(Line { what: what.to_owned(), name: None, change: "changed", members });
        }
    }
    lines
}

/// What takes effect after a restart only: compared with what the program was started with.
pub(crate) fn restart(started: &Table, new: &Table) -> Vec<String> {
    let waiting = TABLES.iter().flat_map(|(what, can)| {
        let members = table_members(started, new, what);
        members.into_iter().filter(|it| !can.can_change(it)).map(move |it| format!("{what}.{it}"))
    });
    waiting.collect()
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

/// The changes that bring the running instances from one configuration to the other. `runs` says whether there is
/// an instance of a name. Those that leave come first: they make room for those that come.
pub(crate) fn changes(old: &Loaded, new: &Loaded, runs: impl Fn(&str) -> bool) -> Result<Vec<Change>> {
    let (mut leave, mut stay, mut come) = (Vec::new(), Vec::new(), Vec::new());
    let find = |loaded: &'_ Loaded, name: &str| {
        loaded.config.instances.iter().position(|instance| instance.name.get_ref() == name)
    };
    for instance in &old.config.instances {
        let name = instance.name.get_ref();
        if find(new, name).is_none() && runs(name) {
            leave.push(Change::Unload(name.clone()));
        }
    }
    for instance in &new.config.instances {
        let name = instance.name.get_ref();
        let is_on = is_enabled(instance);
        let before = find(old, name).map(|at| &old.config.instances[at]);
        let Some(before) = before else {
            if is_on {
                come.push(Change::Load(client::spec(new, instance)?));
            }
            continue;
        };
        let another = is_another(before, instance) || old.path != new.path;
        let update = update(new, before, instance)?;
        let switched = is_enabled(before) != is_on;
        match runs(name) {
            true if another => {
                leave.push(Change::Unload(name.clone()));
                if is_on {
                    come.push(Change::Load(client::spec(new, instance)?));
                }
            }
            true => {
                stay.extend(update);
                if switched {
                    let switch = if is_on { Change::Enable } else { Change::Disable };
                    stay.push(switch(name.clone()));
                }
            }
            // Somebody unloaded it: it comes back when the file says something new about it.
            false if is_on && (another || switched || update.is_some()) => {
                come.push(Change::Load(client::spec(new, instance)?));
            }
            false => {}
        }
    }
    leave.extend(stay);
    leave.extend(come);
    Ok(leave)
}

fn is_enabled(instance: &Instance) -> bool {
    instance.enabled != Some(false)
}

/// Does it take another instance? Another library does.
fn is_another(old: &Instance, new: &Instance) -> bool {
    let plugin = |instance: &Instance| instance.plugin.as_ref().map(|it| it.get_ref().clone());
    let sha256 = |instance: &Instance| instance.sha256.as_ref().map(|it| it.get_ref().to_lowercase());
    old.path != new.path || plugin(old) != plugin(new) || sha256(old) != sha256(new)
}

/// What becomes of a setting that the file gives, gives no more, or gives as before.
fn setting<T: Clone + PartialEq>(old: &Option<T>, new: &Option<T>) -> Setting<T> {
    if old == new { Setting::Keep } else { Setting::of(new.clone()) }
}

fn update(loaded: &Loaded, old: &Instance, new: &Instance) -> Result<Option<Change>> {
    let config = |instance: &Instance| instance.config.as_ref().map(|it| it.get_ref().clone());
    let priority = setting(&old.priority, &new.priority);
    let on_error = setting(&old.on_error, &new.on_error);
    let config = match setting(&config(old), &config(new)) {
        Setting::Set(_) => Setting::Set(client::instance_config(loaded, new)?),
        Setting::Keep => Setting::Keep,
        Setting::Clear => Setting::Clear,
    };
    if priority.is_keep() && on_error.is_keep() && config.is_keep() {
        return Ok(None);
    }
    Ok(Some(Change::Update { name: new.name.get_ref().clone(), priority, on_error, config }))
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
        let new = "[server]\nlisten='b'\nmax_body_bytes=2\n[pipeline]\nmax_plugins=2\npre_hook_timeout='2s'\n[plugins]\ndirs=['x']";
        let (lines, restart) = said(old, new);
        assert_eq!(lines, ["server changed (max_body_bytes)", "pipeline changed (pre_hook_timeout)"]);
        assert_eq!(restart, ["server.listen", "pipeline.max_plugins", "plugins.dirs"]);
    }
}
