//! The rules: no path leads upwards, no file is in a cycle, and the pipeline knows nothing of the raw contract.
//!
//! `main` and `table` call it. Each broken rule is one line: file, line, path, rule.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::{
    layers::Layers,
    names::{Definition, Workspace},
    sources::{Mention, Module},
};

/// Two files, or two folders, that may import each other.
pub(crate) struct Allowed {
    /// One file, or a folder with `/` at its end.
    pub(crate) one: &'static str,
    /// The other.
    pub(crate) other: &'static str,
    /// The reason. A pair that is no longer needed is reported with it.
    pub(crate) reason: &'static str,
}

/// Every broken rule, in order of file and line. A file breaks a rule with another file once, at the first such path.
pub(crate) fn broken(workspace: &Workspace, layers: &[Layers], allowed: &[Allowed]) -> Vec<String> {
    let mut found = Found::default();
    let mut edges = Edges::new();
    for (at, target) in workspace.targets.iter().enumerate() {
        // Tests, examples and benches have no layers.
        let layers =
            layers.iter().find(|layers| layers.package == target.package).filter(|_| target.is_program());
        for (number, module) in target.modules.iter().enumerate() {
            let mut known = HashSet::new();
            for mention in module.paths.iter().filter(|mention| known.insert((&mention.path, mention.is_use)))
            {
                for to in workspace.resolve(at, number, mention) {
                    let other = &workspace.targets[to.target].modules[to.module];
                    if other.file == module.file || is_only_declared(workspace, at, number, to) {
                        continue;
                    }
                    if let Some(broken) = raw_in_pipeline(workspace, &module.file, to) {
                        found.add(module, mention, other, broken);
                    }
                    if to.target != at {
                        continue;
                    }
                    let is_root = module.file == target.modules[0].file;
                    if let Some(broken) =
                        layers.filter(|_| !is_root).and_then(|layers| upwards(layers, module, other))
                    {
                        found.add(module, mention, other, broken);
                    }
                    let edge = edges
                        .entry((module.file.clone(), other.file.clone()))
                        .or_insert_with(|| mention.clone());
                    if mention.line < edge.line {
                        *edge = mention.clone();
                    }
                }
            }
        }
    }
    for allowed in allowed.iter().filter(|allowed| !allowed.is_needed(&edges)) {
        let Allowed { one, other, reason } = allowed;
        let broken = format!("is allowed to import {other} and the reverse, which no file needs ({reason})");
        found.0.insert(((*one).to_owned(), (*other).to_owned(), broken), (0, String::new()));
    }
    edges.retain(|(one, other), _| !allowed.iter().any(|allowed| allowed.has(one, other)));
    for cycle in cycles(&edges) {
        let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
        let steps: Vec<_> = steps
            .map(|(from, to)| {
                let mention = &edges[&(from.clone(), to.clone())];
                (mention.line, format!("{from}:{} `{}`", mention.line, shown(mention)))
            })
            .collect();
        let text = steps.iter().map(|(_, step)| &**step).collect::<Vec<_>>().join(", ");
        found.0.insert(
            (cycle[0].clone(), String::new(), format!("files import each other: {text}")),
            (steps[0].0, String::new()),
        );
    }
    found.lines()
}

/// The paths from one file to another, the first of each pair of files.
type Edges = BTreeMap<(String, String), Mention>;

/// The broken rules: for each pair of files and rule, the first line and its path.
#[derive(Default)]
struct Found(BTreeMap<(String, String, String), (usize, String)>);

impl Found {
    fn add(&mut self, module: &Module, mention: &Mention, other: &Module, broken: String) {
        let path = format!("`{}` ({}): ", shown(mention), other.file);
        let entry = self.0.entry((module.file.clone(), other.file.clone(), broken));
        let first = entry.or_insert_with(|| (mention.line, path.clone()));
        if mention.line < first.0 {
            *first = (mention.line, path);
        }
    }

    fn lines(self) -> Vec<String> {
        let mut found: Vec<_> = self.0.into_iter().collect();
        found.sort_by(|((one, ..), (line, _)), ((other, ..), (other_line, _))| {
            (one, line).cmp(&(other, other_line))
        });
        found
            .into_iter()
            .map(|((file, _, broken), (line, path))| format!("{file}:{line}: {path}{broken}"))
            .collect()
    }
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

fn raw_in_pipeline(workspace: &Workspace, file: &str, to: Definition) -> Option<String> {
    let target = &workspace.targets[to.target];
    let first = target.modules[to.module].path.first();
    let is_raw =
        target.package == "llmux-abi" && target.is_library && first.is_some_and(|name| name == "raw");
    let is_pipeline = file.starts_with("llmux-core/src/pipeline/") || file == "llmux-core/src/pipeline.rs";
    (is_raw && is_pipeline).then(|| "the pipeline must not use the raw contract".into())
}

/// The rule that a path from a module to another breaks. (The root's file may use everything.)
fn upwards(layers: &Layers, module: &Module, other: &Module) -> Option<String> {
    let no_layer =
        |module: &Module| format!("`{}` is in no layer of ARCHITECTURE.md", module.path.join("::"));
    let Some(own) = layers.of(&module.path) else { return Some(no_layer(module)) };
    let above =
        |name: &str| Some(format!("`{}` must not use {name}, which is above it", module.path.join("::")));
    match layers.of(&other.path) {
        _ if other.path.is_empty() => above("the root"),
        Some(layer) if layer < own => above(&format!("`{}`", layers.name(layer))),
        Some(_) => None,
        // A module that gathers several layers.
        None if other.only_declares => None,
        None => Some(no_layer(other)),
    }
}

impl Allowed {
    /// Returns true if two of its files import each other.
    fn is_needed(&self, edges: &Edges) -> bool {
        let is_mutual = |one: &String, other: &String| edges.contains_key(&(other.clone(), one.clone()));
        edges.keys().any(|(one, other)| self.has(one, other) && is_mutual(one, other))
    }

    fn has(&self, one: &str, other: &str) -> bool {
        let is = |pattern: &str, file: &str| match pattern.ends_with('/') {
            true => file.starts_with(pattern),
            false => file == pattern,
        };
        is(self.one, one) && is(self.other, other) || is(self.one, other) && is(self.other, one)
    }
}

/// The shortest cycle through each path between files that is part of one. A cycle with a path that another cycle has
/// shown is left out, unless it is of two files.
fn cycles(edges: &Edges) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        next.entry(from).or_default().push(to);
    }
    let mut found: Vec<Vec<&str>> = Vec::new();
    for (from, to) in edges.keys() {
        if let Some(mut cycle) = way(&next, to, from) {
            let first = cycle.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(at, _)| at);
            cycle.rotate_left(first);
            found.push(cycle);
        }
    }
    found.sort_by_key(|cycle| (cycle.len(), cycle.clone()));
    found.dedup();
    let mut shown: BTreeSet<(&str, &str)> = BTreeSet::new();
    found.retain(|cycle| {
        let steps: Vec<_> = cycle.iter().copied().zip(cycle.iter().copied().cycle().skip(1)).collect();
        let is_new = cycle.len() == 2 || !steps.iter().any(|step| shown.contains(step));
        if is_new {
            shown.extend(steps);
        }
        is_new
    });
    found.into_iter().map(|cycle| cycle.into_iter().map(str::to_owned).collect()).collect()
}

/// The shortest way from one file to another, both included.
fn way<'a>(next: &BTreeMap<&'a str, Vec<&'a str>>, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let mut way = vec![file];
            while let Some(previous) = before.get(way[way.len() - 1]) {
                way.push(previous);
            }
            way.reverse();
            return Some(way);
        }
        for &other in next.get(file).into_iter().flatten() {
            if other != from && !before.contains_key(other) {
                before.insert(other, file);
                queue.push_back(other);
            }
        }
    }
    None
}
