//! Builds the fixture plugins as libraries, once for each run of the tests, apart from the host: from copies of
//! their sources, in a workspace and a target folder of their own, with the versions of the host's lock file.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::contract::{self, Contract};

/// The libraries.
pub struct Fixtures {
    built: PathBuf,
}

/// A library to build: its crate, the fixture whose source it has, the contract it is built against.
struct Crate {
    name: &'static str,
    source: &'static str,
    contract: Option<Contract>,
    /// More dependencies, and what replaces `lib.rs`'s last line.
    twist: Option<Twist>,
}

/// From a source to another, with the dependencies that it needs besides.
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

const CRATES: [Crate; 14] = [
    plain("llmux-probe", "probe"),
    plain("llmux-guard", "guard"),
    plain("llmux-initializer", "initializer"),
    plain("llmux-tables", "tables"),
    against("llmux-older", Contract::Older),
    against("llmux-newer", Contract::Newer),
    against("llmux-changed", Contract::Changed),
    plain("llmux-aborting", "guard"),
    plain("llmux-whole", "guard"),
    twisted("llmux-twice", link_another),
    twisted("llmux-no-plugin", export_nothing),
    twisted("llmux-lacking", |source| (calls(source, "llmux_nowhere"), "")),
    twisted("llmux-twin-1", |source| (calls(source, "llmux_twin") + &exports("llmux_twin", 1), "")),
    twisted("llmux-twin-2", |source| (calls(source, "llmux_twin") + &exports("llmux_twin", 2), "")),
];

/// Another plugin's crate is linked in.
fn link_another(source: String) -> (String, &'static str) {
    let source = source.replace("export_plugin!", "pub use llmux_guard::Guard as Other;\nexport_plugin!");
    (source, "llmux-guard = { path = \"../llmux-guard\" }\n")
}

/// A library that is no plugin.
fn export_nothing(source: String) -> (String, &'static str) {
    let exported = source.find("export_plugin!").expect("the fixture exports a plugin");
    (source[..exported].to_owned(), "")
}

/// It calls a function by its symbol, and says in a header what that answers.
fn calls(source: String, symbol: &str) -> String {
    let before = "        let model = ";
    let call = format!("        ctx.set_response_header(\"x-symbol\", &outside::{symbol}().to_string())?;\n");
    let declared = format!(
        "\nmod outside {{\n    unsafe extern \"C\" {{\n        pub(crate) safe fn {symbol}() -> u32;\n    }}\n}}\n"
    );
    source.replacen(before, &format!("{call}{before}"), 1) + &declared
}

/// A function that every other library could call.
fn exports(symbol: &str, answer: u32) -> String {
    format!("\n#[unsafe(no_mangle)]\nextern \"C\" fn {symbol}() -> u32 {{\n    {answer}\n}}\n")
}

impl Fixtures {
    /// The libraries, built if they are not.
    ///
    /// # Panics
    ///
    /// When they cannot be built; cargo has then said why on standard error.
    pub fn get() -> &'static Self {
        static BUILT: OnceLock<Fixtures> = OnceLock::new();
        BUILT.get_or_init(|| Self::build(&target().join("fixtures")))
    }

    /// The library of the probe.
    pub fn probe(&self) -> PathBuf {
        self.library("llmux-probe")
    }

    /// The library of the guard.
    pub fn guard(&self) -> PathBuf {
        self.library("llmux-guard")
    }

    /// The library of the plugin that stands on the tables of the contract, without the SDK.
    pub fn tables(&self) -> PathBuf {
        self.library("llmux-tables")
    }

    /// The library of the plugin that stands on the contract as ABI 0.1.0 was.
    pub fn frozen(&self) -> PathBuf {
        self.library("llmux-frozen")
    }

    /// The guard as one whole: linked with fat LTO, and stripped of every name.
    pub fn whole(&self) -> PathBuf {
        let file = self.library("llmux-whole");
        let name = file.file_name().expect("a file's name");
        self.built.with_file_name("whole").join(name)
    }

    /// A copy of the initializer's library at this path, which writes to this file when it is mapped.
    ///
    /// # Panics
    ///
    /// When the copy cannot be written.
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

    /// The library of a crate.
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
        built
    }
}

/// The folder that holds all that is built here.
fn target() -> PathBuf {
    let exe = env::current_exe().expect("this test's own path");
    // target/debug/deps/rules-…
    exe.ancestors().nth(3).expect("a test lies in a target folder").to_owned()
}

fn cargo(folder: &Path, workspace: &Path, arguments: &[&str]) {
    let (command, rest) = arguments.split_first().expect("a command");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
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
    let root = repository();
    let names = CRATES.iter().map(|one| one.name).chain(["llmux-frozen"]);
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    let default: Vec<&String> =
        names.iter().filter(|name| !["aborting", "whole"].iter().any(|apart| name.contains(apart))).collect();
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
        contract::write_copy(&root, contract, &folder.join(contract.folder()));
    }
    let frozen = root.join("tests/fixtures/frozen");
    copy(&frozen.join("contract"), &folder.join("contract-frozen"));
    let contract = format!("{:?}", folder.join("contract-frozen"));
    copy(&frozen.join("src"), &workspace.join("llmux-frozen/src"));
    for file in ["Cargo.toml", "build.rs"] {
        let text = read(&frozen.join(file)).replace("\n[workspace]\n", "").replace("\"contract\"", &contract);
        write(&workspace.join("llmux-frozen").join(file), &text);
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

/// Copies a folder with all that is in it.
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

/// The root of this repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes a file unless it is so already: cargo builds anew what is newer.
pub(crate) fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
