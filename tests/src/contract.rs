//! Other versions of the contract: copies of `llmux-abi` that a release before or after this one could have been, to
//! build plugins against.

use std::{fs, path::Path};

use crate::fixtures::{read, write};

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// The same ABI version, before the last optional fields were appended to its tables.
    Older,
    /// ABI 0.2.0, with a field more in the hook table.
    Newer,
    /// The same ABI version, with another type in the document table: what must never be released.
    Changed,
}

impl Contract {
    /// Every one.
    pub const ALL: [Contract; 3] = [Contract::Older, Contract::Newer, Contract::Changed];

    /// The folder of its copy.
    pub fn folder(self) -> &'static str {
        match self {
            Contract::Older => "contract-older",
            Contract::Newer => "contract-newer",
            Contract::Changed => "contract-changed",
        }
    }

    /// Its crate's version: cargo tells copies of one crate apart by it, and a host must not mind it.
    fn crate_version(self) -> &'static str {
        match self {
            Contract::Older => "0.1.901",
            Contract::Newer => "0.1.902",
            Contract::Changed => "0.1.903",
        }
    }

    /// Changes one file of the copy.
    fn patch(self, file: &str, text: String) -> String {
        match (self, file) {
            (Contract::Older, "raw/plugin.rs") => {
                let text = cut(text, "    /// Called once for each loaded image", "}\n\n/// The hooks of an");
                cut(text, "    /// Once for every client request", "") + "}\n"
            }
            (Contract::Older, "raw/host.rs") => {
                cut(text, "    /// Registers a metric and gives its id", "}\n\n/// What to register.")
            }
            (Contract::Older, "sdk/shim.rs") => {
                let text = swap(text, "            on_complete: on_complete::<P>,\n", "");
                let text = swap(text, "            cleanup: cleanup::<P>,\n", "");
                swap(text, "            attach,\n", "")
            }
            (Contract::Older, "sdk/handle.rs") => {
                let text = swap(
                    text,
                    "self.raw.table.metric().map(|register| unsafe { register(self.raw.object, metric) })",
                    "{ let _ = metric; None }",
                );
                cut(
                    text,
                    "        if let Some(record) = self.raw.table.record()",
                    "    }\n\n    /// The host of a raw",
                )
            }
            (Contract::Newer, "raw/version.rs") => swap(text, "\"0.1.0\"", "\"0.2.0\""),
            (Contract::Newer, "raw/plugin.rs") => {
                let end = text.rfind('}').expect("a table");
                let field = "    /// Once in a while.\n    pub on_idle: unsafe extern \"C\" fn(RRef<'_, InstanceObject>) -> u32,\n}\n";
                text[..end].to_owned() + field
            }
            (Contract::Newer, "sdk/shim.rs") => {
                let filled = "            cleanup: cleanup::<P>,\n            on_idle,\n";
                swap(text, "            cleanup: cleanup::<P>,\n", filled)
                    + "\nunsafe extern \"C\" fn on_idle(_: RRef<'_, InstanceObject>) -> u32 {\n    CONTINUE\n}\n"
            }
            (Contract::Changed, "raw/document.rs") => swap(text, "ROption<u64>", "ROption<u32>"),
            _ => text,
        }
    }
}

/// Writes the copy of a version.
pub(crate) fn write_copy(root: &Path, contract: Contract, folder: &Path) {
    let from = root.join("llmux-abi");
    let host = read(&root.join("Cargo.toml"));
    write(&folder.join("Cargo.toml"), &manifest(&read(&from.join("Cargo.toml")), &host, contract));
    write(&folder.join("build.rs"), &read(&from.join("build.rs")));
    write(&folder.join("examples/system_prompt.rs"), &read(&from.join("examples/system_prompt.rs")));
    for part in ["", "raw", "sdk"] {
        for file in fs::read_dir(from.join("src").join(part)).expect("the contract's sources") {
            let path = file.expect("a file").path();
            if path.is_file() {
                let name = Path::new(part).join(path.file_name().expect("a name"));
                let name = name.to_str().expect("a name of UTF-8");
                write(&folder.join("src").join(name), &contract.patch(name, read(&path)));
            }
        }
    }
}

/// The copy's manifest: it belongs to no workspace, so what it had from this one is written out.
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

/// Replaces a part that must be there.
fn swap(text: String, part: &str, by: &str) -> String {
    assert_eq!(
        text.matches(part).count(),
        1,
        "the contract's sources have changed: adapt the patch of `{part}`"
    );
    text.replace(part, by)
}

/// Cuts from one part to another (to the end, if that is empty).
fn cut(text: String, from: &str, to: &str) -> String {
    let changed = "the contract's sources have changed: adapt the patch of";
    let start = text.find(from).unwrap_or_else(|| panic!("{changed} `{from}`"));
    let rest = match to {
        "" => "",
        to => &text[start + text[start..].find(to).unwrap_or_else(|| panic!("{changed} `{to}`"))..],
    };
    text[..start].to_owned() + rest
}
