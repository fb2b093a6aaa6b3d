//! The manifest reader (rule D1) on bytes of all kinds: it reads a valid manifest as it was written, and refuses everything
//! else. `tests/fuzz` checks the same, guided by coverage.

use llmux_core::plugins::{Check, Manifest, VerifyOptions, inspect};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};
use proptest::{collection::vec, option::of, prelude::*, sample::Index};
use serde_json::{Value, json};

/// The manifest's section, as the SDK writes it.
fn section(json: &str) -> Vec<u8> {
    [b"LLMUXPLG", &(json.len() as u32).to_le_bytes()[..], json.as_bytes()].concat()
}

/// An object file of a format with this section.
fn file(format: BinaryFormat, section: &[u8]) -> Vec<u8> {
    let mut file = Object::new(format, Architecture::X86_64, Endianness::Little);
    let (segment, name) = match format {
        BinaryFormat::MachO => (&b"__DATA"[..], &b"__llmux"[..]),
        _ => (&b""[..], &b".llmux"[..]),
    };
    let id = file.add_section(segment.to_vec(), name.to_vec(), SectionKind::ReadOnlyData);
    file.append_section_data(id, section, 8);
    file.write().expect("an object file")
}

fn formats() -> impl Strategy<Value = BinaryFormat> {
    prop_oneof![Just(BinaryFormat::Elf), Just(BinaryFormat::MachO), Just(BinaryFormat::Coff)]
}

fn versions() -> impl Strategy<Value = String> {
    (any::<u16>(), any::<u16>(), any::<u16>(), "(-[a-z]{1,5})?")
        .prop_map(|(a, b, c, pre)| format!("{a}.{b}.{c}{pre}"))
}

/// Valid manifests.
fn manifests() -> impl Strategy<Value = Value> {
    let text = || "[^\\p{Cc}]{0,40}";
    let says = (text(), text(), text(), text(), text(), text());
    let is = (
        "[a-z0-9_-][a-z0-9._-]{0,63}",
        versions(),
        versions(),
        any::<i32>(),
        any::<bool>(),
        "[A-Za-z0-9_]{1,64}",
    );
    let fails = prop_oneof![Just(json!(null)), Just(json!("fail")), Just(json!("continue"))];
    let names = || vec("[a-z_]{1,20}", 0..4);
    let may = (
        of(names()),
        names(),
        prop_oneof![Just("overlap"), Just("exclusive")],
        of(prop_oneof![Just("whole"), Just("unseen")]),
    );
    (is, says, fails, may).prop_map(|((name, version, abi, priority, unwinds, entry), says, on_error, may)| {
        json!({
            "name": name, "version": version, "abi": abi, "priority": priority,
            "panic": if unwinds { "unwind" } else { "abort" }, "entry": format!("llmux_plugin_{entry}"),
            "description": says.0, "authors": says.1, "license": says.2, "sdk": says.3, "rustc": says.4,
            "target": says.5, "on_error": on_error, "abi_min": abi, "hooks": may.0, "needs": may.1, "reload": may.2,
            "streams": may.3,
        })
    })
}

/// A manifest that this host would load.
fn manifest() -> Value {
    json!({
        "name": "p", "version": "1.0.0", "abi": llmux_abi::raw::version::ABI_VERSION, "priority": 1, "panic": "unwind",
        "entry": "llmux_plugin_p", "description": "", "authors": "", "license": "", "sdk": "", "rustc": "",
        "target": llmux_abi::raw::version::TARGET,
    })
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn d2_a_refusal_is_one_short_line_whatever_the_manifest_says() {
    let long = "\u{202e}x".repeat(15_000);
    let pre = format!("9.0.0-{}", "x".repeat(60_000));
    let folder = tempfile::tempdir().expect("a folder");
    let with = |member: &str, value: &str| {
        let mut manifest = manifest();
        manifest[member] = json!(value);
        manifest.to_string()
    };
    let cases = [
        (Check::Machine, with("target", &long)),
        (Check::Abi, with("abi", &pre)),
        (Check::Manifest, json!(long).to_string()),
        (Check::Manifest, with("panic", &long)),
        (Check::Manifest, with("name", &long)),
        (Check::Manifest, with("description", "a\nb")),
    ];
    for (at, (check, json)) in cases.into_iter().enumerate() {
        let mut bytes = file(BinaryFormat::Elf, &section(&json));
        // A shared library, which the writer of object files does not write (ELF's `e_type`).
        bytes[16] = 3;
        let path = folder.path().join(format!("{at}.so"));
        std::fs::write(&path, bytes).expect("written");
        let refused = inspect(&path, &VerifyOptions::default()).refused.expect("refused");
        let line = refused.to_string();
        assert_eq!(refused.check(), check, "{at}: {line}");
        assert!(line.chars().count() < 400, "{at}: {} characters", line.chars().count());
        assert!(!line.contains(['\n', '\u{202e}']), "{at}: {line:?}");
    }
}

#[test]
fn d1_a_name_is_1_to_64_of_its_characters_and_no_step_of_a_path() {
    let named = |name: &str| {
        let mut manifest = manifest();
        manifest["name"] = json!(name);
        Manifest::parse(manifest.to_string().as_bytes()).map(|manifest| manifest.name)
    };
    for name in ["a", "...", "a.b-c_9", &"a".repeat(64)] {
        assert_eq!(named(name).expect(name), name);
    }
    for name in ["", ".", "..", "a/b", "A", "é", "a b", "a\u{0}", &"a".repeat(65)] {
        let refused = named(name).expect_err(name).to_string();
        assert!(refused.contains("`name` must be"), "{name}: {refused}");
    }
}

proptest! {
    #[test]
    fn d1_a_manifest_is_read_as_it_was_written(manifest in manifests(), format in formats()) {
        let read = Manifest::read(&file(format, &section(&manifest.to_string()))).expect("a good manifest");
        prop_assert_eq!(serde_json::to_value(&read).expect("JSON"), manifest);
    }

    #[test]
    fn d1_members_that_are_not_known_are_ignored(manifest in manifests(), name in "[a-z]{9,20}", value in any::<u32>()) {
        let mut longer = manifest.clone();
        longer[name.as_str()] = json!(value);
        prop_assert_eq!(Manifest::parse(longer.to_string().as_bytes()).expect("good"),
            Manifest::parse(manifest.to_string().as_bytes()).expect("good"));
    }

    #[test]
    fn d1_a_member_that_is_missing_is_named(manifest in manifests(), which in any::<Index>()) {
        let mut members = manifest.as_object().expect("an object").clone();
        for optional in ["on_error", "abi_min", "hooks", "needs", "reload", "streams"] {
            members.remove(optional);
        }
        let name = members.keys().nth(which.index(members.len())).expect("a member").clone();
        members.remove(&name);
        let error = Manifest::parse(json!(members).to_string().as_bytes()).expect_err("refused").to_string();
        prop_assert!(error.contains(&format!("`{name}`")), "{}", error);
    }

    #[test]
    fn d1_damaged_files_are_read_without_harm(
        manifest in manifests(), format in formats(),
        flips in vec((any::<Index>(), any::<u8>()), 0..20), cut in any::<Index>(), keep in any::<bool>(),
    ) {
        let mut bytes = file(format, &section(&manifest.to_string()));
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        // Any outcome is fine, but its message is one line.
        if let Err(error) = Manifest::read(&bytes) {
            let error = error.to_string();
            prop_assert!(error.len() < 400 && !error.contains('\n'), "{}", error);
        }
    }
}
