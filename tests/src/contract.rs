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
    /// ABI 0.2.3, with a hook more and a function of the host more. A plugin that uses neither needs no newer host.
    Later,
    /// ABI 0.2.3, with a plugin that writes the new hook.
    LaterHook,
    /// ABI 0.3.0, with a field more in the hook table.
    Newer,
    /// This ABI version with another type in the document table. Such a contract must never be released.
    Changed,
}

impl Contract {
    /// All versions.
    pub const ALL: [Contract; 5] =
        [Contract::Older, Contract::Later, Contract::LaterHook, Contract::Newer, Contract::Changed];

    /// Returns the name of the folder of the version's copy.
    pub fn folder(self) -> &'static str {
        match self {
            Contract::Older => "contract-older",
            Contract::Later => "contract-later",
            Contract::LaterHook => "contract-later-hook",
            Contract::Newer => "contract-newer",
            Contract::Changed => "contract-changed",
        }
    }

    /// Returns the version of the copy's crate. Cargo distinguishes copies of one crate by their versions. A host
    /// must ignore this version.
    fn crate_version(self) -> &'static str {
        match self {
            Contract::Older => "0.2.901",
            Contract::Later => "0.2.904",
            Contract::LaterHook => "0.2.905",
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
                    "    /// Runs work of the instance on a thread that may block.",
                    "}\n\n/// Parameters of [`HostTable::metric`]",
                );
                sources.cut("            on_complete: if hooks::<P>()[5] ", "        });\n    }\n}");
                sources.swap("            attach,\n", "");
                sources.swap(
                    "match self.raw.table.spawn_blocking() {",
                    "match None::<unsafe extern \"C\" fn(*const crate::raw::host::HostObject, RawWork) -> bool> {",
                );
                let call = "self.raw.table.abi_version().map(|version| unsafe { version(self.raw.object) }.as_str())";
                sources.swap(call, "None");
                sources.swap(
                    "self.raw.table.library_dir()?",
                    "None::<unsafe extern \"C\" fn(*const crate::raw::host::HostObject) -> RSlice<'static, u8>>?",
                );
            }
            Contract::Later | Contract::LaterHook => {
                sources.swap("ABI_VERSION: &str = \"0.2.2\"", "ABI_VERSION: &str = \"0.2.3\"");
                add_a_hook(sources);
                let last = "    pub library_dir: unsafe extern \"C\" fn(object: *const HostObject) -> RSlice<'static, u8>,\n";
                let field = "    /// Returns the time of day.\n    \
                             pub wall: unsafe extern \"C\" fn(object: *const HostObject) -> u64,\n";
                sources.swap(last, &format!("{last}{field}"));
            }
            Contract::Newer => {
                sources.swap("ABI_VERSION: &str = \"0.2.2\"", "ABI_VERSION: &str = \"0.3.0\"");
                sources.swap("ABI_FIRST: &str = \"0.2.0\"", "ABI_FIRST: &str = \"0.3.0\"");
                add_a_hook(sources);
            }
            Contract::Changed => sources.swap("RStr<'_>) -> ROption<u64>", "RStr<'_>) -> ROption<u32>"),
        }
    }
}

/// Adds the hook `on_idle` to the table, the trait and the shim, as a later version would.
fn add_a_hook(sources: &mut Sources) {
    let last = "            object: RRef<'a, InstanceObject>,\n            call: RequestCallRef<'a>,\n            \
                waker: &mut FfiContext<'_>,\n        ) -> HookPoll<'a>,\n    >,\n}";
    let field = "\n    /// Once in a while.\n    \
                 pub on_idle: Option<unsafe extern \"C\" fn(object: RRef<'_, InstanceObject>) -> u32>,\n}";
    sources.swap(last, &format!("{}{field}", last.trim_end_matches("\n}")));
    let last = "            cleanup: if hooks::<P>()[6] ";
    let idle = "            on_idle: if is_absent_alone(P::on_idle) { None } else { Some(on_idle) },\n";
    sources.swap(last, &format!("{idle}{last}"));
    let before = "struct Tables<P>";
    let idle = "unsafe extern \"C\" fn on_idle(_: abi_stable::sabi_types::RRef<'_, InstanceObject>) -> u32 {\n    \
                0\n}\n\n";
    sources.swap(before, &format!("{idle}{before}"));
    let first = "    if !is_absent(P::on_text) ||";
    sources.swap(
        first,
        &format!("    if !is_absent_alone(P::on_idle) {{\n        return \"0.2.3\";\n    }}\n{first}"),
    );
    let last =
        "    fn cleanup(&self) -> impl Future<Output = Result<()>> + Send {\n        Absent::new()\n    }\n";
    sources.swap(last, &format!("{last}{}", last.replace("cleanup", "on_idle")));
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
            skips =
                ["[lints", "[[", "[dev-dependencies", "[features"].iter().any(|head| line.starts_with(head));
        }
        let written = match line.strip_suffix(".workspace = true") {
            // The features are no part of the contract.
            _ if skips || line.contains("optional = true") => continue,
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
