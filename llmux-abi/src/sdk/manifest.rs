//! The manifest: a library's description of its plugin, readable without running the library.
//!
//! `export_plugin!` writes it at compile time. The host reads it from the file. All of it is `const`: the bytes form a
//! section of the library.

use serde::{Deserialize, Serialize};

use crate::raw::{
    entry::{MAGIC, MAX_MANIFEST},
    version::ABI_VERSION,
};

/// Handling of a request when a hook of this plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnError {
    /// The request continues without the changes of the failed hook.
    Continue,
    /// The request fails with `plugin_failure` (HTTP 500). Guards use this value.
    Fail,
}

/// A service of the host that it may not offer. A plugin that does not work without one names it in `needs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Service {
    /// [`Host::spawn`](crate::Host::spawn).
    Spawn,
    /// [`Host::sleep`](crate::Host::sleep).
    Sleep,
    /// [`Host::http`](crate::Host::http) and [`Host::http_stream`](crate::Host::http_stream).
    Http,
    /// [`Host::counter`](crate::Host::counter), [`Host::gauge`](crate::Host::gauge) and
    /// [`Host::histogram`](crate::Host::histogram).
    Metric,
    /// [`Host::spawn_blocking`](crate::Host::spawn_blocking).
    SpawnBlocking,
}

impl Service {
    /// Returns the name of the service in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Service::Spawn => "spawn",
            Service::Sleep => "sleep",
            Service::Http => "http",
            Service::Metric => "metric",
            Service::SpawnBlocking => "spawn_blocking",
        }
    }
}

/// Way in which a new instance takes the place of an old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reload {
    /// The new instance is made while the old one serves.
    #[default]
    Overlap,
    /// The old instance is cleaned up and dropped before the new one is made. For a plugin that holds a lock, a port or a
    /// database, which two instances cannot hold at once. New requests wait meanwhile. The host calls `new`, not `renew`.
    Exclusive,
}

/// Relation of a plugin that has a `post_hook` to streamed answers. If the plugin says nothing, the host does not call that hook
/// for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Streams {
    /// The host calls `post_hook` with the assembled answer of a stream, when the stream has ended. The client receives the
    /// answer as chunks after that. The default of `on_error` is then [`OnError::Fail`]. Hosts of a version before 0.2.2 refuse
    /// the plugin.
    Whole,
    /// The plugin does not see streamed answers, on purpose.
    Unseen,
}

/// Description of a plugin. Written by [`export_plugin!`](crate::export_plugin).
#[derive(Clone, Copy, Debug)]
pub struct PluginManifest {
    /// The plugin's name: 1 to 64 characters of `a-z 0-9 - _ .`.
    pub name: &'static str,
    /// The plugin's version, as semver.
    pub version: &'static str,
    /// Description of the plugin, in one sentence. Line breaks and other control characters become spaces.
    pub description: &'static str,
    /// Names of the authors, separated by `:`.
    pub authors: &'static str,
    /// The plugin's license, as an SPDX expression.
    pub license: &'static str,
    /// The default priority of an instance.
    pub priority: i32,
    /// Handling of a request when a hook fails. `None` leaves the choice to the host's configuration.
    pub on_error: Option<OnError>,
    /// Whether two instances of one name can live at once.
    pub reload: Reload,
    /// Relation to streamed answers. `None` if the plugin says nothing.
    pub streams: Option<Streams>,
    /// The services of the host without which the plugin does not work.
    pub needs: &'static [Service],
    /// The hooks that the plugin implements, in the order of [`HOOKS`](PluginManifest::HOOKS).
    pub hooks: [bool; PluginManifest::HOOKS.len()],
    /// The least version of the contract that the plugin needs.
    pub abi_min: &'static str,
    /// The name of the exported static.
    pub entry: &'static str,
    /// True if the plugin's crate was compiled with `panic = "abort"`.
    pub panic_aborts: bool,
}

/// A plugin that has a manifest. Implemented by [`export_plugin!`](crate::export_plugin).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no manifest",
    note = "write `export_plugin!({Self}, name: \"…\", priority: …);` beside it"
)]
pub trait Exported {
    /// The manifest.
    const MANIFEST: PluginManifest;
}

impl PluginManifest {
    /// Returns the manifest as JSON.
    pub fn json(&self) -> String {
        let encoded = Encoded::of(self);
        String::from_utf8_lossy(&encoded.bytes[HEADER..encoded.len]).into_owned()
    }

    /// The names of the hooks.
    pub const HOOKS: [&'static str; 10] = [
        "pre_hook",
        "post_hook",
        "pre_stream_hook",
        "on_stream_chunk",
        "post_stream_hook",
        "on_complete",
        "cleanup",
        "on_text",
        "on_tool_call",
        "beside",
    ];

    /// Priority of a plugin that does not set one.
    pub const DEFAULT_PRIORITY: i32 = 100;
}

/// Number of bytes before the JSON: the magic and the length.
const HEADER: usize = MAGIC.len() + size_of::<u32>();

/// The bytes of the section, and the number of bytes in use.
#[doc(hidden)]
pub struct Encoded {
    bytes: [u8; HEADER + MAX_MANIFEST],
    len: usize,
}

impl Encoded {
    /// Encodes a manifest. Compilation fails if the name is not valid or the texts are too long.
    #[track_caller]
    pub const fn of(manifest: &PluginManifest) -> Self {
        check_name(manifest.name.as_bytes());
        let mut encoded = Self { bytes: [0; HEADER + MAX_MANIFEST], len: 0 };
        encoded.bytes.split_at_mut(MAGIC.len()).0.copy_from_slice(&MAGIC);
        encoded.len = HEADER;
        encoded.push(b'{');
        encoded.text("name", manifest.name);
        encoded.text("version", manifest.version);
        encoded.line("description", manifest.description);
        encoded.line("authors", manifest.authors);
        encoded.text("license", manifest.license);
        encoded.text("abi", ABI_VERSION);
        encoded.text("abi_min", manifest.abi_min);
        encoded.text("sdk", env!("CARGO_PKG_VERSION"));
        encoded.text("rustc", env!("LLMUX_RUSTC"));
        encoded.text("target", env!("LLMUX_TARGET"));
        encoded.text("panic", if manifest.panic_aborts { "abort" } else { "unwind" });
        encoded.text("entry", manifest.entry);
        encoded.key("hooks");
        encoded.push(b'[');
        let mut at = 0;
        while at < PluginManifest::HOOKS.len() {
            if manifest.hooks[at] {
                encoded.item(PluginManifest::HOOKS[at]);
            }
            at += 1;
        }
        encoded.push(b']');
        encoded.key("needs");
        encoded.push(b'[');
        let mut at = 0;
        while at < manifest.needs.len() {
            encoded.item(manifest.needs[at].as_str());
            at += 1;
        }
        encoded.push(b']');
        if let Reload::Exclusive = manifest.reload {
            encoded.text("reload", "exclusive");
        }
        match manifest.streams {
            Some(Streams::Whole) => encoded.text("streams", "whole"),
            Some(Streams::Unseen) => encoded.text("streams", "unseen"),
            None => {}
        }
        match manifest.on_error {
            Some(OnError::Continue) => encoded.text("on_error", "continue"),
            Some(OnError::Fail) => encoded.text("on_error", "fail"),
            None => {}
        }
        encoded.key("priority");
        encoded.integer(manifest.priority);
        encoded.push(b'}');
        let length = ((encoded.len - HEADER) as u32).to_le_bytes();
        encoded.bytes.split_at_mut(HEADER).0.split_at_mut(MAGIC.len()).1.copy_from_slice(&length);
        encoded
    }

    /// Returns the length of the section, in bytes.
    #[allow(clippy::len_without_is_empty, reason = "never empty: a section has a magic and a length")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns the section's bytes.
    pub const fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let mut at = 0;
        while at < N {
            bytes[at] = self.bytes[at];
            at += 1;
        }
        bytes
    }

    const fn push(&mut self, byte: u8) {
        assert!(self.len < HEADER + MAX_MANIFEST, "the manifest is longer than 64 KB");
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    const fn key(&mut self, name: &str) {
        if self.bytes[self.len - 1] != b'{' {
            self.push(b',');
        }
        self.string(name);
        self.push(b':');
    }

    /// Writes an item of a list.
    const fn item(&mut self, text: &str) {
        if self.bytes[self.len - 1] != b'[' {
            self.push(b',');
        }
        self.string(text);
    }

    const fn text(&mut self, name: &str, text: &str) {
        self.key(name);
        self.string(text);
    }

    /// Writes a text as one line: `Cargo.toml` may have several.
    const fn line(&mut self, name: &str, text: &str) {
        self.key(name);
        self.push(b'"');
        let bytes = text.as_bytes();
        let (mut at, mut is_space, mut is_empty) = (0, false, true);
        while at < bytes.len() {
            if matches!(bytes[at], 0..=0x20 | 0x7f) {
                is_space = true;
            } else {
                if is_space && !is_empty {
                    self.push(b' ');
                }
                self.character(bytes[at]);
                (is_space, is_empty) = (false, false);
            }
            at += 1;
        }
        self.push(b'"');
    }

    const fn string(&mut self, text: &str) {
        self.push(b'"');
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.character(bytes[at]);
            at += 1;
        }
        self.push(b'"');
    }

    const fn character(&mut self, byte: u8) {
        match byte {
            b'"' | b'\\' => {
                self.push(b'\\');
                self.push(byte);
            }
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let escape = [b'\\', b'u', b'0', b'0', HEX[byte as usize >> 4], HEX[byte as usize & 15]];
                let mut at = 0;
                while at < escape.len() {
                    self.push(escape[at]);
                    at += 1;
                }
            }
            byte => self.push(byte),
        }
    }

    const fn integer(&mut self, integer: i32) {
        let mut rest = (integer as i64).unsigned_abs();
        if integer < 0 {
            self.push(b'-');
        }
        let mut unit = 1_000_000_000;
        while unit > 1 && rest < unit {
            unit /= 10;
        }
        while unit > 0 {
            self.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }
}

#[track_caller]
const fn check_name(name: &[u8]) {
    assert!(!name.is_empty() && name.len() <= 64, "a plugin's name has 1 to 64 characters");
    let mut at = 0;
    while at < name.len() {
        assert!(
            matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'),
            "a plugin's name is made of a-z, 0-9, '-', '_' and '.'"
        );
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: PluginManifest = PluginManifest {
        name: "a-plugin",
        version: "1.2.3",
        description: "\n  says \"hi\"\r\n\t\\o/ \u{7f}ü\n",
        authors: "A:B",
        license: "MIT",
        priority: i32::MIN,
        on_error: Some(OnError::Fail),
        reload: Reload::Exclusive,
        streams: Some(Streams::Unseen),
        needs: &[Service::Http, Service::SpawnBlocking],
        hooks: [true, false, true, false, false, false, true, false, false, false],
        abi_min: "0.2.0",
        entry: "llmux_plugin_a",
        panic_aborts: false,
    };

    #[test]
    fn the_manifest_is_json_that_says_what_it_was_given() {
        let json: serde_json::Value = serde_json::from_str(&MANIFEST.json()).expect("valid JSON");
        assert_eq!(json["name"], "a-plugin");
        assert_eq!(json["description"], r#"says "hi" \o/ ü"#);
        assert_eq!(json["priority"], i64::from(i32::MIN));
        assert_eq!(json["on_error"], "fail");
        assert_eq!((&json["abi"], &json["abi_min"]), (&ABI_VERSION.into(), &"0.2.0".into()));
        assert_eq!(json["hooks"], serde_json::json!(["pre_hook", "pre_stream_hook", "cleanup"]));
        assert_eq!(json["needs"], serde_json::json!(["http", "spawn_blocking"]));
        assert_eq!((&json["reload"], &json["streams"]), (&"exclusive".into(), &"unseen".into()));
        for zero in [0, 7, -1, 10, 999, i32::MAX] {
            let json = PluginManifest { priority: zero, ..MANIFEST }.json();
            let json: serde_json::Value = serde_json::from_str(&json).expect("valid JSON");
            assert_eq!(json["priority"], i64::from(zero));
        }
    }

    #[test]
    fn the_section_is_magic_length_and_json() {
        const ENCODED: Encoded = Encoded::of(&MANIFEST);
        const BYTES: [u8; ENCODED.len()] = ENCODED.bytes();
        assert_eq!(BYTES[..8], MAGIC);
        let length = u32::from_le_bytes(BYTES[8..12].try_into().expect("four bytes")) as usize;
        assert_eq!(&BYTES[12..], MANIFEST.json().as_bytes());
        assert_eq!(length, BYTES.len() - 12);
    }
}
