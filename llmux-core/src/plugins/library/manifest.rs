//! Reads a plugin's manifest out of a library's bytes, without running any of it (rule D1).
//!
//! The bytes may be hostile: every length is bounded, and checked against the file.

use llmux_abi::raw::entry::{ENTRY_PREFIX, MACHO_SECTION, MAGIC, MAX_MANIFEST, SECTION};
pub use llmux_abi::{OnError, Reload, Streams};
use object::{BinaryFormat, Object, ObjectSection, ReadRef};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{error::LibraryError, object_file};
use crate::pipeline::HookKind;

/// Description of a plugin, which its library holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: Version,
    /// Purpose of the plugin, in a few words.
    pub description: String,
    /// Names of the authors, separated by `:`.
    pub authors: String,
    /// License of the plugin.
    pub license: String,
    /// Version of the contract that the library is built for.
    pub abi: Version,
    /// Least version of the contract that the plugin needs.
    pub abi_min: Version,
    /// Version of the SDK that the library is built with.
    pub sdk: String,
    /// Version of the compiler that built the library.
    pub rustc: String,
    /// Target that the library is built for, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Panic strategy that the library is built with.
    pub panic: PanicStrategy,
    /// Name of the exported static.
    pub entry: String,
    /// Names of the hooks that the plugin implements. `None` if the manifest does not say.
    pub hooks: Option<Vec<String>>,
    /// Names of the host services without which the plugin does not work.
    pub needs: Vec<String>,
    /// Whether two instances of one name can live at once.
    pub reload: Reload,
    /// Relation to streamed answers. `None` if the manifest does not say.
    pub streams: Option<Streams>,
    /// Default priority of the plugin's instances.
    pub priority: i32,
    /// Whether a failed hook fails the request, unless the instance has its own setting.
    pub on_error: Option<OnError>,
}

/// Panic strategy of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PanicStrategy {
    /// A panic unwinds, and the SDK catches it.
    Unwind,
    /// A panic ends the process.
    Abort,
}

impl Manifest {
    /// Returns true if streamed answers are not seen by this plugin, and its manifest does not say that this is intended
    /// (rule S5): it has a `post_hook`, none of the hooks that see a streamed answer, and no `streams`. False if the manifest
    /// does not name the hooks.
    pub fn misses_streams(&self) -> bool {
        let has = |hook: HookKind| {
            self.hooks.as_ref().is_some_and(|hooks| hooks.iter().any(|name| name == hook.as_str()))
        };
        self.streams.is_none()
            && has(HookKind::Post)
            && ![HookKind::Chunk, HookKind::PostStream, HookKind::Text, HookKind::ToolCall]
                .into_iter()
                .any(has)
    }

    /// Reads the manifest of a library.
    ///
    /// # Errors
    ///
    /// [`LibraryError::Format`], [`NoManifest`](LibraryError::NoManifest),
    /// [`TwoManifests`](LibraryError::TwoManifests) or [`Manifest`](LibraryError::Manifest), naming the member.
    pub fn read(library: &[u8]) -> Result<Self, LibraryError> {
        Self::parse(section(&object_file::parse(library)?)?)
    }

    /// Parses the JSON of a manifest.
    ///
    /// # Errors
    ///
    /// [`LibraryError::Manifest`], naming the member.
    pub fn parse(json: &[u8]) -> Result<Self, LibraryError> {
        let members: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| LibraryError::Manifest(error.to_string()))?;
        let members = Members(members);
        let abi = members.version("abi")?;
        let manifest = Self {
            name: members.text("name")?,
            version: members.version("version")?,
            description: members.text("description")?,
            authors: members.text("authors")?,
            license: members.text("license")?,
            abi_min: members.optional("abi_min", |it| it.version("abi_min"))?.unwrap_or_else(|| abi.clone()),
            abi,
            sdk: members.text("sdk")?,
            rustc: members.text("rustc")?,
            target: members.text("target")?,
            panic: members.one_of("panic", "`unwind` or `abort`")?,
            entry: members.text("entry")?,
            hooks: members.optional("hooks", |it| it.names("hooks"))?,
            needs: members.optional("needs", |it| it.names("needs"))?.unwrap_or_default(),
            reload: members
                .optional("reload", |it| it.one_of("reload", "`overlap` or `exclusive`"))?
                .unwrap_or_default(),
            streams: members.optional("streams", |it| it.one_of("streams", "`whole` or `unseen`"))?,
            priority: members.one_of("priority", "a 32-bit integer")?,
            on_error: members.optional("on_error", |it| it.one_of("on_error", "`continue` or `fail`"))?,
        };
        if !is_compatible(&manifest.abi, &manifest.abi_min) {
            return Err(wrong("abi_min", "a version that `abi` is compatible with"));
        }
        if !is_name(&manifest.name) {
            return Err(wrong("name", NAME_RULE));
        }
        let rest = manifest.entry.strip_prefix(ENTRY_PREFIX).unwrap_or_default();
        let is_identifier =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if rest.is_empty() || rest.len() > 256 || !is_identifier(rest) {
            return Err(wrong("entry", "`llmux_plugin_` and the name of a crate"));
        }
        Ok(manifest)
    }
}

/// Returns true if a version of the contract has all that an earlier one has: both are of one series.
fn is_compatible(version: &Version, earlier: &Version) -> bool {
    let series = |version: &Version| (version.major, if version.major == 0 { version.minor } else { 0 });
    series(version) == series(earlier) && version >= earlier
}

/// Rule for the name of a plugin or an instance, as [`is_name`] checks it.
pub(in crate::plugins) const NAME_RULE: &str =
    "1 to 64 characters of a-z, 0-9, `-`, `_` and `.`, but not `.` or `..`";

/// Returns true if the text is a valid name for a plugin or an instance ([`NAME_RULE`]).
pub(in crate::plugins) fn is_name(name: &str) -> bool {
    // In the path of a URL, `.` and `..` do not name anything.
    (1..=64).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

struct Members(Map<String, Value>);

impl Members {
    fn get(&self, name: &'static str, expected: &str) -> Result<&Value, LibraryError> {
        self.0.get(name).ok_or_else(|| LibraryError::Manifest(format!("`{name}` is missing, {expected}")))
    }

    fn text(&self, name: &'static str) -> Result<String, LibraryError> {
        let text = self.get(name, "a string")?.as_str().ok_or_else(|| wrong(name, "a string"))?;
        if text.chars().any(char::is_control) {
            return Err(wrong(name, "a string without control characters"));
        }
        Ok(text.to_owned())
    }

    /// Reads a member that may be absent.
    fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Self) -> Result<T, LibraryError>,
    ) -> Result<Option<T>, LibraryError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => read(self).map(Some),
        }
    }

    /// Reads a list of names.
    fn names(&self, name: &'static str) -> Result<Vec<String>, LibraryError> {
        let names: Vec<String> = self.one_of(name, "a list of names")?;
        let is_name = |it: &String| it.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if names.len() > 64 || !names.iter().all(is_name) {
            return Err(wrong(name, "a list of at most 64 names in lower case"));
        }
        Ok(names)
    }

    fn version(&self, name: &'static str) -> Result<Version, LibraryError> {
        let expected = "a semantic version";
        let text = self.get(name, expected)?.as_str().unwrap_or_default();
        Version::parse(text).map_err(|_| wrong(name, expected))
    }

    fn one_of<T: for<'de> Deserialize<'de>>(
        &self,
        name: &'static str,
        expected: &str,
    ) -> Result<T, LibraryError> {
        T::deserialize(self.get(name, expected)?).map_err(|_| wrong(name, expected))
    }
}

fn wrong(name: &str, expected: &str) -> LibraryError {
    LibraryError::Manifest(format!("`{name}` must be {expected}"))
}

/// Returns the JSON in the manifest's section.
fn section<'data>(file: &object::File<'data, impl ReadRef<'data>>) -> Result<&'data [u8], LibraryError> {
    let is_macho = file.format() == BinaryFormat::MachO;
    let name = if is_macho { MACHO_SECTION.1 } else { SECTION };
    let mut found = file.sections().filter(|section| section.name() == Ok(name));
    let section = found.next().ok_or(LibraryError::NoManifest)?;
    if found.next().is_some() {
        return Err(LibraryError::TwoManifests);
    }
    let data = section.data().map_err(|error| LibraryError::Manifest(format!("its section: {error}")))?;
    let (json, rest) = split(data)?;
    // Sections are padded. Other bytes are a second manifest, or damage.
    match rest.iter().position(|byte| *byte != 0) {
        None => Ok(json),
        Some(at) if rest[at..].starts_with(&MAGIC) => Err(LibraryError::TwoManifests),
        Some(_) => Err(LibraryError::Manifest("something follows it in its section".to_owned())),
    }
}

fn split(data: &[u8]) -> Result<(&[u8], &[u8]), LibraryError> {
    let rest = data
        .strip_prefix(&MAGIC)
        .ok_or_else(|| LibraryError::Manifest("its section does not begin with LLMUXPLG".to_owned()))?;
    let cut = || LibraryError::Manifest("it is cut off".to_owned());
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_MANIFEST {
        return Err(LibraryError::Manifest(format!(
            "it is {length} bytes long, at most {MAX_MANIFEST} are read"
        )));
    }
    rest.split_at_checked(length).ok_or_else(cut)
}
