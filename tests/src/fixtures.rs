//! Builds the fixture plugins as libraries, once for each run of the tests, apart from the host: from copies of
//! their sources, in a workspace and a target folder of their own, with the versions of the host's lock file.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use llmux_testing::{
    blocks::root,
    build::{self, target},
};

use crate::contract::{self, Contract};

/// Libraries of the fixture plugins.
pub struct Fixtures {
    built: PathBuf,
}

/// A library to build: its crate, the fixture whose source it uses, and the contract against which it is built.
struct Crate {
    name: &'static str,
    source: &'static str,
    contract: Option<Contract>,
    /// Change of the source, with more dependencies.
    twist: Option<Twist>,
}

/// Function that turns a source into another, and returns it with the additional dependencies.
type Twist = fn(String) -> (String, &'static str);

const fn plain(name: &'static str, source: &'static str) -> Crate {
    Crate { name, source, contract: None, twist: None }
}

const fn against(name: &'static str, contract: Contract) -> Crate {
    Crate { name, source: "guard", contract: Some(contract), twist: None }
}

const fn twisted(name: &'static str, twist: Twist) -> Crate {
    Crate { name, source: "guard", contract: None, twist: Some(twist) }
}

const fn of_tables(name: &'static str, twist: Twist) -> Crate {
    Crate { name, source: "tables", contract: None, twist: Some(twist) }
}

const CRATES: [Crate; 31] = [
    plain("llmux-probe", "probe"),
    plain("llmux-beside", "beside"),
    plain("llmux-guard", "guard"),
    plain("llmux-exclusive", "exclusive"),
    Crate {
        twist: Some(|source| (swap(source, ", reload: Reload::Exclusive", ""), "")),
        ..plain("llmux-overlapping", "exclusive")
    },
    plain("llmux-initializer", "initializer"),
    plain("llmux-intruder", "intruder"),
    plain("llmux-misbehaving", "misbehaving"),
    plain("llmux-reviewer", "reviewer"),
    Crate {
        twist: Some(|source| (swap(source, ", streams: Some(Streams::Whole)", ""), "")),
        ..plain("llmux-unseeing", "reviewer")
    },
    plain("llmux-tables", "tables"),
    plain("llmux-texts", "texts"),
    plain("llmux-tool-calls", "tool_calls"),
    of_tables("llmux-tables-trusted", |source| (swap(source, "Some(&LAYOUT)", "None"), "")),
    of_tables("llmux-tables-unread", |source| (swap(source, "AbiHeader::VALUE", "unread()") + UNREAD, "")),
    of_tables("llmux-tables-format", |source| (swap(source, "format: ENTRY_FORMAT", "format: 2"), "")),
    of_tables("llmux-tables-null", |source| {
        let made = "RSome(RawInstance { object, ";
        (swap(source, made, "let _ = object;\n    RSome(RawInstance { object: std::ptr::null_mut(), "), "")
    }),
    of_tables("llmux-tables-other", |source| {
        (swap(source, "RStr::from_str(version::ABI_VERSION)", "RStr::from_str(\"0.3.0\")"), "")
    }),
    against("llmux-older", Contract::Older),
    against("llmux-later", Contract::Later),
    Crate { twist: Some(write_the_new_hook), ..against("llmux-later-hook", Contract::LaterHook) },
    against("llmux-newer", Contract::Newer),
    against("llmux-changed", Contract::Changed),
    plain("llmux-aborting", "guard"),
    plain("llmux-whole", "guard"),
    twisted("llmux-twice", link_another),
    twisted("llmux-no-plugin", export_nothing),
    twisted("llmux-lacking", |source| (calls(source, "llmux_nowhere"), "")),
    twisted("llmux-needy", |source| (shows_its_folder(calls(source, "llmux_dep")), "")),
    twisted("llmux-twin-1", |source| (calls(source, "llmux_twin") + &exports("llmux_twin", 1), "")),
    twisted("llmux-twin-2", |source| (calls(source, "llmux_twin") + &exports("llmux_twin", 2), "")),
];

/// The plugins that are built against frozen contracts: their folders and their crates.
const FROZEN: [(&str, &str); 2] = [("frozen-0.1", "llmux-frozen"), ("frozen-0.2", "llmux-frozen-2")];

/// Replaces a part of a source.
fn swap(source: String, part: &str, by: &str) -> String {
    assert!(source.contains(part), "the fixture holds `{part}`");
    source.replacen(part, by, 1)
}

/// A header of a version of `abi_stable` that no host reads.
const UNREAD: &str = "\nconst fn unread() -> AbiHeader {\n    let mut header = AbiHeader::VALUE;\n    \
                      header.abi_minor += 1;\n    header\n}\n";

/// Links another plugin's crate into the library.
fn link_another(source: String) -> (String, &'static str) {
    let source = source.replace("export_plugin!", "pub use llmux_guard::Guard as Other;\nexport_plugin!");
    (source, "llmux-guard = { path = \"../llmux-guard\" }\n")
}

/// Writes the hook that a later contract has.
fn write_the_new_hook(source: String) -> (String, &'static str) {
    let before = "    async fn pre_hook(";
    (
        swap(
            source,
            before,
            &format!("    async fn on_idle(&self) -> Result<()> {{\n        Ok(())\n    }}\n\n{before}"),
        ),
        "",
    )
}

/// Turns a fixture into a library that is not a plugin.
fn export_nothing(source: String) -> (String, &'static str) {
    let exported = source.find("export_plugin!").expect("the fixture exports a plugin");
    (source[..exported].to_owned(), "")
}

/// Adds a call of a function by its symbol. The plugin sets the result as a header.
fn calls(source: String, symbol: &str) -> String {
    let before = "        let model = ";
    let call = format!("        ctx.set_response_header(\"x-symbol\", &outside::{symbol}().to_string())?;\n");
    let declared = format!(
        "\nmod outside {{\n    unsafe extern \"C\" {{\n        pub(crate) safe fn {symbol}() -> u32;\n    }}\n}}\n"
    );
    source.replacen(before, &format!("{call}{before}"), 1) + &declared
}

/// Makes the guard set the folder of its library as a header.
fn shows_its_folder(source: String) -> String {
    let source = swap(source, "    config: Config,\n}", "    config: Config,\n    host: Host,\n}");
    let source = swap(swap(source, "_host: Host", "host: Host"), "Self { config }", "Self { config, host }");
    let folder = "        let folder = self.host.library_dir().map(|folder| folder.display().to_string());\n        \
                  ctx.set_response_header(\"x-library-dir\", &folder.unwrap_or_default())?;\n";
    swap(source, "        let model = ", &format!("{folder}        let model = "))
}

/// Returns the source of a function that every other library could call.
fn exports(symbol: &str, answer: u32) -> String {
    format!("\n#[unsafe(no_mangle)]\nextern \"C\" fn {symbol}() -> u32 {{\n    {answer}\n}}\n")
}

impl Fixtures {
    /// Returns the libraries, and builds them if necessary.
    ///
    /// # Panics
    ///
    /// If they cannot be built. Cargo has then written the reason to standard error.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Fixtures> = OnceLock::new();
        BUILT.get_or_init(|| Self::build(&target().join("fixtures")))
    }

    /// Returns the library of the probe.
    pub fn probe(&self) -> PathBuf {
        self.library("llmux-probe")
    }

    /// Returns the library of the exclusive plugin.
    pub fn exclusive(&self) -> PathBuf {
        self.library("llmux-exclusive")
    }

    /// Returns the library of the exclusive plugin without `reload = "exclusive"` in its manifest.
    pub fn overlapping(&self) -> PathBuf {
        self.library("llmux-overlapping")
    }

    /// Returns the library of the guard.
    pub fn guard(&self) -> PathBuf {
        self.library("llmux-guard")
    }

    /// Returns the library of the plugin with a text hook.
    pub fn texts(&self) -> PathBuf {
        self.library("llmux-texts")
    }

    /// Returns the library of the plugin with a tool call hook.
    pub fn tool_calls(&self) -> PathBuf {
        self.library("llmux-tool-calls")
    }

    /// Returns the library of the plugin that receives streams as one answer.
    pub fn reviewer(&self) -> PathBuf {
        self.library("llmux-reviewer")
    }

    /// Returns the library of the plugin that misbehaves.
    pub fn misbehaving(&self) -> PathBuf {
        self.library("llmux-misbehaving")
    }

    /// Returns the library of the plugin that uses the tables of the contract, without the SDK.
    pub fn tables(&self) -> PathBuf {
        self.library("llmux-tables")
    }

    /// Returns the library of the plugin that was built against ABI 0.1.0.
    pub fn frozen_0_1(&self) -> PathBuf {
        self.library("llmux-frozen")
    }

    /// Returns the library of the plugin that was built against ABI 0.2.0.
    pub fn frozen_0_2(&self) -> PathBuf {
        self.library("llmux-frozen-2")
    }

    /// Returns the library of the guard, linked with fat LTO and stripped of every symbol name.
    pub fn whole(&self) -> PathBuf {
        let file = self.library("llmux-whole");
        let name = file.file_name().expect("a file's name");
        self.built.with_file_name("whole").join(name)
    }

    /// Returns the guard as an archive, for [`c_libraries::link`](crate::c_libraries::link). It calls the function `llmux_dep`, which
    /// returns a number, and sets the result as the header `x-symbol`.
    pub fn needy(&self) -> PathBuf {
        self.built.join("libllmux_needy.a")
    }

    /// Copies the initializer's library to this path. The copy writes to this file when it is mapped.
    ///
    /// # Panics
    ///
    /// If the copy cannot be written.
    pub fn initializer(&self, copy: &Path, writes_to: &Path) {
        let mut bytes = fs::read(self.library("llmux-initializer")).expect("the initializer");
        let marker = b"llmux-initializer-writes-to:";
        let places: Vec<usize> =
            bytes.windows(marker.len()).enumerate().filter(|(_, it)| *it == marker).map(|it| it.0).collect();
        let [at] = places[..] else { panic!("the place is there once, not at {places:?}") };
        let path = writes_to.to_str().expect("a path of UTF-8").as_bytes();
        let place = &mut bytes[at..at + 256];
        place.fill(b' ');
        place[..path.len()].copy_from_slice(path);
        fs::write(copy, bytes).expect("a copy");
    }

    /// Returns the library whose initializer tries to leave its sandbox.
    pub fn intruder(&self) -> PathBuf {
        self.library("llmux-intruder")
    }

    /// Returns the library of a crate.
    pub fn library(&self, name: &str) -> PathBuf {
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        self.built.join(format!("{prefix}{}{suffix}", name.replace('-', "_")))
    }

    fn build(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for the fixtures");
        // Other runs of the tests wait here.
        let lock = File::create(folder.join("lock")).expect("a lock file");
        lock.lock().expect("the lock");
        let workspace = folder.join("workspace");
        write_workspace(folder, &workspace);
        let built = Self { built: folder.join("target/debug") };
        cargo(folder, &workspace, &["build"]);
        // Its own code aborts when it panics, whatever its dependencies do; the linker knows no more.
        cargo(folder, &workspace, &["rustc", "--package", "llmux-aborting", "--lib", "--", "-Cpanic=abort"]);
        cargo(
            folder,
            &workspace,
            &["rustc", "--package", "llmux-whole", "--lib", "--crate-type", "cdylib", "--profile", "whole"],
        );
        cargo(
            folder,
            &workspace,
            &["rustc", "--package", "llmux-needy", "--lib", "--crate-type", "staticlib"],
        );
        built
    }
}

fn cargo(folder: &Path, workspace: &Path, arguments: &[&str]) {
    let (command, rest) = arguments.split_first().expect("a command");
    let status = build::cargo()
        .arg(command)
        .args(["--offline", "--quiet", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .args(rest)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        // A cut contract leaves unused code.
        .env("RUSTFLAGS", "-Awarnings")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo {arguments:?} cannot build the fixtures in {}", workspace.display());
}

fn write_workspace(folder: &Path, workspace: &Path) {
    let root = root();
    let names = CRATES.iter().map(|one| one.name).chain(FROZEN.map(|(_, name)| name));
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    let default: Vec<&String> = names
        .iter()
        .filter(|name| !["aborting", "whole", "needy"].iter().any(|apart| name.contains(apart)))
        .collect();
    let default = default.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    write(
        &workspace.join("Cargo.toml"),
        &format!(
            "[workspace]\nresolver = \"3\"\nmembers = [{}]\ndefault-members = [{default}]\n\n\
             [profile.dev]\ndebug = false\nstrip = true\nincremental = false\n\n\
             # With names, for what valgrind says.\n[profile.dev.package.llmux-probe]\nstrip = \"debuginfo\"\n\n\
             [profile.whole]\ninherits = \"dev\"\nopt-level = 1\nlto = \"fat\"\ncodegen-units = 1\n",
            names.join(", ")
        ),
    );
    // Only once: cargo adapts it to this workspace.
    let lock = workspace.join("Cargo.lock");
    let (ours, seen) = (read(&root.join("Cargo.lock")), workspace.join("Cargo.lock.host"));
    if fs::read_to_string(&seen).ok().as_deref() != Some(&ours) {
        fs::write(&lock, &ours).expect("a lock file for the fixtures");
        fs::write(&seen, &ours).expect("a copy of the host's lock file");
    }
    for contract in Contract::ALL {
        contract::write_copy(root, contract, &folder.join(contract.folder()));
    }
    for (source, name) in FROZEN {
        let frozen = root.join("tests/fixtures").join(source);
        let contract = folder.join(format!("contract-{source}"));
        copy(&frozen.join("contract"), &contract);
        copy(&frozen.join("src"), &workspace.join(name).join("src"));
        for file in
            ["Cargo.toml", "build.rs"].map(|file| frozen.join(file)).iter().filter(|file| file.exists())
        {
            let text = read(file).replace("\n[workspace]\n", "");
            let text = text.replace("\"contract\"", &format!("{contract:?}"));
            write(&workspace.join(name).join(file.file_name().expect("a name")), &text);
        }
    }
    for one in &CRATES {
        let source = root.join("tests/fixtures").join(one.source);
        let abi = match one.contract {
            Some(contract) => folder.join(contract.folder()),
            None => root.join("llmux-abi"),
        };
        let mut manifest = read(&source.join("Cargo.toml"))
            .replace(&format!("\"llmux-{}\"", one.source), &format!("{:?}", one.name))
            .replace("\n[workspace]\n", "")
            .replace("\"../../../llmux-abi\"", &format!("{abi:?}"));
        let folder = workspace.join(one.name);
        for file in fs::read_dir(source.join("src")).expect("the fixture's sources") {
            let file = file.expect("a file");
            let mut text = read(&file.path());
            if let Some(twist) = one.twist {
                let (twisted, dependencies) = twist(text);
                (text, manifest) = (twisted, manifest + dependencies);
            }
            write(&folder.join("src").join(file.file_name()), &text);
        }
        write(&folder.join("Cargo.toml"), &manifest);
    }
}

/// Copies a folder with its content.
fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).expect("a folder of the fixture") {
        let file = file.expect("a file");
        let to = to.join(file.file_name());
        match file.path().is_dir() {
            true => copy(&file.path(), &to),
            false => write(&to, &read(&file.path())),
        }
    }
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes a file unless it has this content already, because cargo rebuilds crates with newer files.
pub(crate) fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
