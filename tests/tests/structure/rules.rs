//! The rules: no path leads upwards, no file is in a cycle, and the pipeline knows nothing of the raw contract.
//!
//! `main` and `table` call it. Each broken rule is one line: file, line, path, rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    layers::Layers,
    names::{Definition, Workspace},
    sources::Mention,
};

/// Two files, or two folders, that may import each other.
pub(crate) struct Allowed {
    /// One file, or a folder with `/` at its end.
    pub(crate) one: &'static str,
    /// The other.
    pub(crate) other: &'static str,
    /// The reason. Nothing reads it but people.
    pub(crate) _reason: &'static str,
}

/// A path from one file to another.
struct Edge {
    line: usize,
    path: String,
}

/// Every broken rule, in order of file and line.
pub(crate) fn broken(workspace: &Workspace, layers: &[Layers], allowed: &[Allowed]) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut edges: BTreeMap<(&str, &str), Edge> = BTreeMap::new();
    for (at, target) in workspace.targets.iter().enumerate() {
        let own_layers = layers.iter().find(|layers| layers.package == target.package);
        for (number, module) in target.modules.iter().enumerate() {
            let layers = own_layers
                .filter(|_| !module.file.contains("/tests/") && !module.file.contains("/examples/"));
            for mention in &module.paths {
                for to in workspace.resolve(at, number, mention) {
                    let other = &workspace.targets[to.target].modules[to.module];
                    let place = (module.file.clone(), mention.line);
                    if other.file == module.file || is_only_declared(workspace, at, number, to) {
                        continue;
                    }
                    if let Some(broken) = raw_in_pipeline(workspace, &module.file, to) {
                        found.insert((place.clone(), format!("`{}`: {broken}", shown(mention))));
                    }
                    if to.target != at {
                        continue;
                    }
                    if let Some(broken) = layers.and_then(|layers| upwards(layers, &module.path, other)) {
                        found.insert((place, format!("`{}` ({}): {broken}", shown(mention), other.file)));
                    }
                    let edge = Edge { line: mention.line, path: shown(mention) };
                    edges.entry((&module.file, &other.file)).or_insert(edge);
                }
            }
        }
    }
    edges.retain(|(one, other), _| !allowed.iter().any(|allowed| allowed.has(one, other)));
    for cycle in cycles(&edges) {
        let (from, to) = (cycle[0], cycle[1 % cycle.len()]);
        let steps = cycle.iter().zip(cycle.iter().cycle().skip(1)).map(|(from, to)| {
            let edge = &edges[&(*from, *to)];
            format!("\n    {from}:{} `{}` → {to}", edge.line, edge.path)
        });
        let edge = &edges[&(from, to)];
        let place = (from.to_owned(), edge.line);
        found.insert((place, format!("files import each other:{}", steps.collect::<String>())));
    }
    found.into_iter().map(|((file, line), text)| format!("{file}:{line}: {text}")).collect()
}

fn shown(mention: &Mention) -> String {
    mention.path.join("::")
}

/// True for the re-export of a name below a module in a file that only declares and re-exports.
fn is_only_declared(workspace: &Workspace, target: usize, module: usize, to: Definition) -> bool {
    let modules = &workspace.targets[target].modules;
    let this = &modules[module];
    let is_pure = modules.iter().filter(|other| other.file == this.file).all(|other| other.only_declares);
    is_pure && to.target == target && modules[to.module].path.starts_with(&this.path)
}

fn raw_in_pipeline(workspace: &Workspace, file: &str, to: Definition) -> Option<&'static str> {
    let target = &workspace.targets[to.target];
    let is_raw = target.package == "llmux-abi"
        && target.modules[to.module].path.first().is_some_and(|name| name == "raw");
    let is_pipeline = file.starts_with("llmux-core/src/pipeline/") || file == "llmux-core/src/pipeline.rs";
    (is_raw && is_pipeline).then_some("the pipeline uses the raw contract, which only the boundary may")
}

/// The rule that a path from a module to another breaks.
fn upwards(layers: &Layers, from: &[String], other: &crate::sources::Module) -> Option<String> {
    // The root may use everything, and nothing may use what is defined there.
    if from.is_empty() {
        return None;
    }
    let above = |name: &str| format!("`{}` must not use {name}, which stands above it", from.join("::"));
    let Some(own) = layers.of(from) else {
        // A module that only gathers layers may do that.
        return (!from.is_empty())
            .then(|| format!("`{}` stands in no layer of ARCHITECTURE.md", from.join("::")));
    };
    if other.path.is_empty() {
        return Some(above("the root"));
    }
    match layers.of(&other.path) {
        Some(layer) if layer < own => Some(above(&format!("`{}`", layers.name(layer)))),
        Some(_) => None,
        None if other.only_declares => None,
        None => Some(format!("`{}` stands in no layer of ARCHITECTURE.md", other.path.join("::"))),
    }
}

impl Allowed {
    fn has(&self, one: &str, other: &str) -> bool {
        let is = |pattern: &str, file: &str| match pattern.ends_with('/') {
            true => file.starts_with(pattern),
            false => file == pattern,
        };
        is(self.one, one) && is(self.other, other) || is(self.one, other) && is(self.other, one)
    }
}

/// For each group of files that reach each other, the shortest way around from its first file that has not been shown yet.
fn cycles<'a>(edges: &BTreeMap<(&'a str, &'a str), Edge>) -> Vec<Vec<&'a str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    for &(from, to) in edges.keys() {
        if let Some(back) = way(edges, to, from) {
            let mut cycle = vec![from];
            cycle.extend(&back[..back.len() - 1]);
            let first = cycle.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(at, _)| at);
            cycle.rotate_left(first);
            if !found.contains(&cycle) {
                found.push(cycle);
            }
        }
    }
    // A short cycle explains the long ones that pass through the same files.
    found.sort_by_key(Vec::len);
    let mut shown: BTreeSet<(&str, &str)> = BTreeSet::new();
    found.retain(|cycle| {
        let steps: Vec<_> = cycle.iter().copied().zip(cycle.iter().copied().cycle().skip(1)).collect();
        let is_new = cycle.len() == 2 || !steps.iter().any(|step| shown.contains(step));
        if is_new {
            shown.extend(steps);
        }
        is_new
    });
    found
}

/// The shortest way from one file to another, both included.
fn way<'a>(edges: &BTreeMap<(&'a str, &'a str), Edge>, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let mut way = vec![file];
            while let Some(&previous) = before.get(way[way.len() - 1]).filter(|_| way[way.len() - 1] != from)
            {
                way.push(previous);
            }
            way.reverse();
            return Some(way);
        }
        let next =
            edges.range((file, "")..).take_while(|((start, _), _)| *start == file).map(|((_, end), _)| *end);
        for next in next {
            if next != from && !before.contains_key(next) {
                before.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}
