//! Other versions of the contract: copies of `llmux-abi` as a release before or after this one could be. Tests build
//! plugins against them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::fixtures::{read, write};

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// This ABI version before the last optional fields were appended to its tables.
    Older,
    /// ABI 0.3.0, with a field more in the hook table.
    Newer,
    /// This ABI version with another type in the document table. Such a contract must never be released.
    Changed,
}

impl Contract {
    /// All versions.
    pub const ALL: [Contract; 3] = [Contract::Older, Contract::Newer, Contract::Changed];

    /// Returns the name of the folder of the version's copy.
    pub fn folder(self) -> &'static str {
        match self {
            Contract::Older => "contract-older",
            Contract::Newer => "contract-newer",
            Contract::Changed => "contract-changed",
        }
    }

    /// Returns the version of the copy's crate. Cargo distinguishes copies of one crate by their versions. A host
    /// must ignore this version.
    fn crate_version(self) -> &'static str {
        match self {
            Contract::Older => "0.2.901",
            Contract::Newer => "0.2.902",
            Contract::Changed => "0.2.903",
        }
    }

    /// Turns the sources into this version. The changed parts are found by their text, in whatever file they are.
    fn patch(self, sources: &mut Sources) {
        match self {
            Contract::Older => {
                sources.cut("    /// Called once for each loaded image", "}\n\n/// The hooks of an");
                sources.cut(
                    "    /// Called once for every client request, after the client has the response.",
                    "}\n",
                );
                sources.cut(
                    "    /// Registers a metric and returns its id",
                    "}\n\n/// Description of a metric to register.",
                );
                sources
                    .cut("            on_complete: if !P::EVERY_HOOK && is_absent(", "        });\n    }\n}");
                sources.swap("            attach,\n", "");
                let call =
                    "self.raw.table.metric().map(|register| unsafe { register(self.raw.object, metric) })";
                sources.swap(call, "{ let _ = metric; None }");
                sources.swap("self.handle.library_dir()", "None::<&[u8]>");
                sources.cut("        if let Some(record) = self.raw.table.record()", "    }\n}\n");
            }
            Contract::Newer => {
                sources.swap("ABI_VERSION: &str = \"0.2.0-dev\"", "ABI_VERSION: &str = \"0.3.0\"");
                let last = "            object: RRef<'a, InstanceObject>,\n            call: CleanupCallRef<'a>,\n            \
                            waker: &mut FfiContext<'_>,\n        ) -> HookPoll<'a>,\n    >,\n}";
                let field = "\n    /// Once in a while.\n    \
                             pub on_idle: unsafe extern \"C\" fn(object: RRef<'_, InstanceObject>) -> u32,\n}";
                sources.swap(last, &format!("{}{field}", last.trim_end_matches("\n}")));
                let last = "            cleanup: if !P::EVERY_HOOK && is_absent_alone(P::cleanup) ";
                sources.swap(last, &format!("            on_idle,\n{last}"));
                let before = "struct Tables<P>";
                let idle = "unsafe extern \"C\" fn on_idle(_: abi_stable::sabi_types::RRef<'_, InstanceObject>) \
                            -> u32 {\n    0\n}\n\n";
                sources.swap(before, &format!("{idle}{before}"));
            }
            Contract::Changed => sources.swap("RStr<'_>) -> ROption<u64>", "RStr<'_>) -> ROption<u32>"),
        }
    }
}

/// Files of a copy, by their paths below `src`.
struct Sources(BTreeMap<PathBuf, String>);

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut sources = BTreeMap::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(part) = folders.pop() {
            for file in fs::read_dir(folder.join(&part)).expect("the contract's sources") {
                let file = file.expect("a file");
                let name = part.join(file.file_name());
                match file.path().is_dir() {
                    true => folders.push(name),
                    false => drop(sources.insert(name, read(&file.path()))),
                }
            }
        }
        Self(sources)
    }

    /// Writes the files, and removes older files that are not part of the copy.
    fn write(&self, folder: &Path) {
        if folder.exists() {
            for old in Self::read(folder).0.into_keys().filter(|old| !self.0.contains_key(old)) {
                fs::remove_file(folder.join(old)).expect("an old file goes");
            }
        }
        for (name, text) in &self.0 {
            write(&folder.join(name), text);
        }
    }

    /// Returns the text of the only file that contains a part.
    fn holding(&mut self, part: &str) -> &mut String {
        let mut holding = self.0.values_mut().filter(|text| text.contains(part));
        let found = holding.next();
        assert!(holding.next().is_none(), "several sources of the contract hold `{part}`: adapt the patch");
        found.unwrap_or_else(|| panic!("no source of the contract holds `{part}`: adapt the patch"))
    }

    /// Replaces a part by another text.
    fn swap(&mut self, part: &str, by: &str) {
        let text = self.holding(part);
        *text = text.replacen(part, by, 1);
    }

    /// Removes the text from one part up to another that follows it.
    fn cut(&mut self, from: &str, to: &str) {
        let text = self.holding(from);
        let start = text.find(from).expect("the file holds it");
        let rest =
            text[start..].find(to).unwrap_or_else(|| panic!("no `{to}` follows `{from}`: adapt the patch"));
        text.replace_range(start..start + rest, "");
    }
}

/// Writes the copy of a version.
pub(crate) fn write_copy(root: &Path, contract: Contract, folder: &Path) {
    let from = root.join("llmux-abi");
    let host = read(&root.join("Cargo.toml"));
    write(&folder.join("Cargo.toml"), &manifest(&read(&from.join("Cargo.toml")), &host, contract));
    write(&folder.join("build.rs"), &read(&from.join("build.rs")));
    write(&folder.join("examples/system_prompt.rs"), &read(&from.join("examples/system_prompt.rs")));
    let mut sources = Sources::read(&from.join("src"));
    contract.patch(&mut sources);
    sources.write(&folder.join("src"));
}

/// Returns the copy's manifest. The copy belongs to no workspace, so that inherited values are written out.
fn manifest(manifest: &str, host: &str, contract: Contract) -> String {
    let mut lines = vec![];
    let mut skips = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            skips = ["[lints", "[[", "[dev-dependencies"].iter().any(|head| line.starts_with(head));
        }
        let written = match line.strip_suffix(".workspace = true") {
            _ if skips => continue,
            Some("version") => format!("version = {:?}", contract.crate_version()),
            Some(name) => {
                let prefix = format!("{name} = ");
                let line = host.lines().find(|line| line.starts_with(&prefix));
                line.unwrap_or_else(|| panic!("the workspace says nothing of `{name}`")).to_owned()
            }
            None => line.to_owned(),
        };
        lines.push(written);
    }
    lines.push("[workspace]\n".to_owned());
    lines.join("\n")
}
