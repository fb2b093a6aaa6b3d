//! Resolves paths to the modules and items that they name, through `use` lines, globs and re-exports.
//!
//! `rules` calls it. It knows modules and items, no members of items: `Type::new` resolves to `Type`. Macros that define
//! items are not expanded, so a path to such an item resolves to its module.

use std::collections::HashSet;

use crate::sources::{Mention, Target};

/// Something that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Definition {
    pub(crate) target: usize,
    /// The module itself, or the module that defines the item.
    pub(crate) module: usize,
    pub(crate) is_item: bool,
}

/// All targets of the workspace.
pub(crate) struct Workspace {
    pub(crate) targets: Vec<Target>,
}

type Visited = HashSet<(usize, usize, String)>;

impl Workspace {
    /// Everything that a path in a module names: a module and an item, where they share a name.
    pub(crate) fn resolve(&self, target: usize, module: usize, mention: &Mention) -> Vec<Definition> {
        // A name that a macro defines is not known: the path counts for the module before it.
        let prefixes = (1..=mention.path.len()).rev().map(|length| &mention.path[..length]);
        let resolved = prefixes.map(|path| self.walk(target, module, path, &mut Visited::new()));
        let mut found = resolved.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
        // A name alone in code may be a variable; in any case it is no module.
        if mention.path.len() == 1 && !mention.is_use {
            found.retain(|definition| definition.is_item);
        }
        found
    }

    fn walk(&self, target: usize, module: usize, path: &[String], visited: &mut Visited) -> Vec<Definition> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let modules = &self.targets[target].modules;
        let here = |module| vec![Definition { target, module, is_item: false }];
        let start = match &**first {
            "crate" => here(0),
            "self" => here(module),
            "super" => modules[module].parent.map(here).unwrap_or_default(),
            "Self" => Vec::new(),
            name => match self.lookup(target, module, name, visited) {
                found if found.is_empty() => self.library(name),
                found => found,
            },
        };
        self.descend(start, rest, visited)
    }

    /// The definitions that the rest of a path names below those that its beginning names.
    fn descend(&self, start: Vec<Definition>, rest: &[String], visited: &mut Visited) -> Vec<Definition> {
        let Some((next, rest)) = rest.split_first() else { return start };
        let (items, modules): (Vec<_>, Vec<_>) = start.into_iter().partition(|definition| definition.is_item);
        let mut found = Vec::new();
        for definition @ Definition { target, module, .. } in modules {
            let below = match &**next {
                "super" => {
                    let parent = self.targets[target].modules[module].parent;
                    parent.map(|module| Definition { target, module, is_item: false }).into_iter().collect()
                }
                "self" => vec![definition],
                name => self.lookup(target, module, name, visited),
            };
            found.extend(self.descend(below, rest, visited));
        }
        // Below an item there are only its members. Where a module shares its name, the path leads through the module.
        if found.is_empty() { items } else { found }
    }

    /// The definitions of a name in a module.
    fn lookup(&self, target: usize, module: usize, name: &str, visited: &mut Visited) -> Vec<Definition> {
        let this = &self.targets[target].modules[module];
        let mut found = Vec::new();
        if let Some(&module) = this.children.get(name) {
            found.push(Definition { target, module, is_item: false });
        }
        if this.items.contains(name) {
            found.push(Definition { target, module, is_item: true });
        }
        // Imports may lead in a circle: `use self::a::a;`, or two globs of each other.
        let key = (target, module, name.to_owned());
        if !visited.insert(key.clone()) {
            return found;
        }
        for import in this.imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            found.extend(self.walk(target, module, &import.path, visited));
        }
        if found.is_empty() {
            for import in this.imports.iter().filter(|import| import.name.is_none()) {
                let opened = self.walk(target, module, &import.path, visited);
                for definition in opened.into_iter().filter(|definition| !definition.is_item) {
                    found.extend(self.lookup(definition.target, definition.module, name, visited));
                }
            }
        }
        visited.remove(&key);
        found.sort_by_key(|found| (found.target, found.module, found.is_item));
        found.dedup();
        found
    }

    /// The root of a library of the workspace.
    fn library(&self, name: &str) -> Vec<Definition> {
        let is_it = |target: &Target| target.is_library && target.package.replace('-', "_") == name;
        let target = self.targets.iter().position(is_it);
        target.map(|target| Definition { target, module: 0, is_item: false }).into_iter().collect()
    }
}
