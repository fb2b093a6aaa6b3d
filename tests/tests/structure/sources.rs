//! The sources of one target (a library, a program, a test, …) as a tree of modules: the names that each module
//! defines, the names that it imports, and every path in it.
//!
//! `names` resolves the paths. This file resolves nothing, expands no macro, and leaves out code that only tests compile
//! (`#[cfg(test)]`).

use std::collections::{HashMap, HashSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{
    Attribute, Block, File, Item, ItemMod, Macro, Meta, Path, Stmt, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::items::{attributes, is_exported_macro, is_for_tests, name, path_attribute};

/// Reads a file by its path from the repository's root; `None` if there is no such file.
pub(crate) type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The modules of one target.
#[derive(Debug)]
pub(crate) struct Target {
    /// The package, with hyphens.
    pub(crate) package: String,
    /// True for the library, which other targets see by the package's name.
    pub(crate) is_library: bool,
    /// The root is the first.
    pub(crate) modules: Vec<Module>,
}

/// A module, in a file of its own or inline.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The names from the target's root to here.
    pub(crate) path: Vec<String>,
    /// The file, from the repository's root.
    pub(crate) file: String,
    /// The module around it.
    pub(crate) parent: Option<usize>,
    /// The modules that it declares.
    pub(crate) children: HashMap<String, usize>,
    /// The types, functions, macros and other items that it defines.
    pub(crate) items: HashSet<String>,
    /// The names that `use` lines bring in.
    pub(crate) imports: Vec<Import>,
    /// Every path in it.
    pub(crate) paths: Vec<Mention>,
    /// True if it only declares and re-exports.
    pub(crate) only_declares: bool,
}

/// A name that a `use` line brings in.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    /// The name here; `None` for a glob.
    pub(crate) name: Option<String>,
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// A path in the code.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) is_use: bool,
}

impl Target {
    /// True for a library or a program: not for a test, an example or a bench.
    pub(crate) fn is_program(&self) -> bool {
        self.modules[0].file.contains("/src/")
    }

    /// Reads a target from its root file.
    ///
    /// # Panics
    ///
    /// If a file is missing or does not parse.
    pub(crate) fn read(package: &str, is_library: bool, root: &str, read: Read<'_>) -> Self {
        let mut target = Self { package: package.into(), is_library, modules: Vec::new() };
        let (folder, _) = root.rsplit_once('/').unwrap_or(("", root));
        target.read_file(root, folder, Vec::new(), None, read);
        target
    }

    /// Reads a module's file. The files of its children are in `folder`.
    fn read_file(
        &mut self,
        file: &str,
        folder: &str,
        path: Vec<String>,
        parent: Option<usize>,
        read: Read<'_>,
    ) -> usize {
        let text = read(file).unwrap_or_else(|| panic!("{file} is not there"));
        let File { items, attrs, .. } =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{file} does not parse: {error}"));
        let at = self.read_items(&items, file, folder, path, parent, read);
        attrs.iter().for_each(|attribute| Paths::of(&mut self.modules[at]).visit_attribute(attribute));
        at
    }

    fn read_items(
        &mut self,
        items: &[Item],
        file: &str,
        folder: &str,
        path: Vec<String>,
        parent: Option<usize>,
        read: Read<'_>,
    ) -> usize {
        let at = self.modules.len();
        self.modules.push(Module {
            path,
            file: file.into(),
            parent,
            only_declares: true,
            ..Module::default()
        });
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            match item {
                Item::Mod(item) => {
                    let child = self.read_mod(item, at, folder, read);
                    self.modules[at].children.insert(item.ident.to_string(), child);
                }
                Item::Use(item) => imports(&item.tree, &mut Vec::new(), &mut self.modules[at].imports),
                Item::ExternCrate(_) => {}
                _ => {
                    self.modules[at].only_declares = false;
                    let exported = is_exported_macro(item);
                    let home = if exported { 0 } else { at };
                    self.modules[home].items.extend(name(item));
                }
            }
            if !matches!(item, Item::Mod(_)) {
                Paths::of(&mut self.modules[at]).visit_item(item);
            }
        }
        at
    }

    fn read_mod(&mut self, item: &ItemMod, at: usize, folder: &str, read: Read<'_>) -> usize {
        let name = item.ident.to_string();
        let path = [&self.modules[at].path[..], std::slice::from_ref(&name)].concat();
        let file = self.modules[at].file.clone();
        let below = join(folder, &name);
        if let Some((_, items)) = &item.content {
            return self.read_items(items, &file, &below, path, Some(at), read);
        }
        if let Some(other) = path_attribute(&item.attrs) {
            let (beside, _) = file.rsplit_once('/').unwrap_or_default();
            let file = join(beside, &other);
            let (folder, _) = file.rsplit_once('/').unwrap_or_default();
            return self.read_file(&file, folder, path, Some(at), read);
        }
        let file =
            [format!("{below}.rs"), format!("{below}/mod.rs")].into_iter().find(|file| read(file).is_some());
        let file = file.unwrap_or_else(|| panic!("{folder} has no file for the module `{name}`"));
        self.read_file(&file, &below, path, Some(at), read)
    }
}

/// The path of a file below a folder, without `..`.
fn join(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The names that a tree of a `use` line brings in; `before` is the path that leads to it.
fn imports(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Import>) {
    // `a::{self}` and `a::self` bring in `a` itself.
    let path = |before: &[String], last: &str| {
        let mut path = before.to_vec();
        if last != "self" || path.is_empty() {
            path.push(last.to_owned());
        }
        path
    };
    match tree {
        UseTree::Path(tree) => {
            before.push(tree.ident.to_string());
            imports(&tree.tree, before, found);
            before.pop();
        }
        UseTree::Name(tree) => {
            let path = path(before, &tree.ident.to_string());
            found.push(Import { name: path.last().cloned(), path, line: line(&tree.ident) });
        }
        UseTree::Rename(tree) => {
            let path = path(before, &tree.ident.to_string());
            found.push(Import { name: Some(tree.rename.to_string()), path, line: line(&tree.ident) });
        }
        UseTree::Glob(tree) => found.push(Import { name: None, path: before.clone(), line: line(tree) }),
        UseTree::Group(group) => group.items.iter().for_each(|tree| imports(tree, before, found)),
    }
}

fn line(of: &impl Spanned) -> usize {
    of.span().start().line
}

/// Collects the paths of a module's items.
struct Paths<'a> {
    module: &'a mut Module,
    /// The imports of the blocks around the place.
    blocks: Vec<Vec<Import>>,
}

impl<'a> Paths<'a> {
    fn of(module: &'a mut Module) -> Self {
        Self { module, blocks: Vec::new() }
    }

    fn add(&mut self, mut path: Vec<String>, line: usize, is_use: bool) {
        let imports = self.blocks.iter().rev().flatten();
        let named = imports.filter(|import| import.name.is_some());
        if let Some(import) = named.into_iter().find(|import| import.name.as_ref() == path.first()) {
            path.splice(..1, import.path.iter().cloned());
        }
        self.module.paths.push(Mention { path, line, is_use });
    }

    /// The paths in a macro's tokens: names joined by `::`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_long(&mut path, line);
                    }
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Group(group) => {
                    // A tree of names in a `use` line of a macro: each of them is a path.
                    if colons == 2 && group.delimiter() == Delimiter::Brace {
                        for name in group.stream() {
                            if let TokenTree::Ident(name) = name {
                                let path = [&path[..], &[name.to_string()]].concat();
                                self.add(path, line, false);
                            }
                        }
                    }
                    self.add_long(&mut path, line);
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) | TokenTree::Punct(_) => self.add_long(&mut path, line),
            }
            colons = 0;
        }
        self.add_long(&mut path, line);
    }

    /// Adds a path of at least two names. A name alone may be a variable, and its import has been counted.
    fn add_long(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.add(path, line, false);
        }
    }

    /// The paths in an attribute's texts, such as serde's `with = "crate::a::b"`.
    fn texts(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.texts(group.stream()),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let mut path: Vec<String> =
                        text.trim_matches('"').split("::").map(str::to_owned).collect();
                    let is_name = |name: &String| {
                        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                    };
                    if path.iter().all(is_name) {
                        self.add_long(&mut path, literal.span().start().line);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        imports(&item.tree, &mut Vec::new(), &mut found);
        for Import { path, line, .. } in found {
            self.module.paths.push(Mention { path, line, is_use: true });
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let mut found = Vec::new();
        for statement in &block.stmts {
            if let Stmt::Item(Item::Use(item)) = statement {
                imports(&item.tree, &mut Vec::new(), &mut found);
            }
        }
        self.blocks.push(found);
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(names, line(path), false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, of: &'ast Macro) {
        visit::visit_macro(self, of);
        self.tokens(of.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
            self.texts(list.tokens.clone());
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let for_tests = matches!(item, syn::ImplItem::Fn(item) if is_for_tests(&item.attrs));
        if !for_tests {
            visit::visit_impl_item(self, item);
        }
    }

    /// `pub(in a::b)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
