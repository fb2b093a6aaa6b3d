//! Writes the seeds of every fuzz target into `corpus/<target>`.

use std::{fs, path::Path};

use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};

const MANIFEST: &str = r#"{"name":"a","version":"1.2.3","description":"d","authors":"b","license":"MIT","abi":"0.2.0","sdk":"0.1.0","rustc":"r","target":"t","panic":"unwind","entry":"llmux_plugin_a","on_error":"fail","priority":50}"#;

const TEXT: &str = r#"{"model":"gpt-4o","n":1.5e3,"messages":[{"role":"user","content":"é \u00e9 \n"},{"role":"user","content":[]}],"a/b~c":null}"#;
const DOCUMENTS: [&str; 5] = [
    "{TEXT}\0s/model\0\"x\"\0i/messages/0\0{\"role\":\"system\"}\0r/messages/1\0\0i/messages/-\0[1]",
    "{TEXT}\0i/a~1b~0c\0true\0r/n\0\0s\0[]\0i/0\01",
    "{TEXT}\0s/messages/0/content/0\0null",
    "[[[[1,2],{\"a\":{\"a\":0}}]]]\0r/0/0/0/1\0\0s/0/0/1/a/b\0{}",
    "{\"a\":1,\"a\":2,\"\\u0061\":3}\0r/a\0",
];
const STREAMS: [&str; 6] = [
    "\x08data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n",
    "\x02data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n\r\n: comment\r\n",
    "\x04\u{feff}data: a\ndata: b\n\nevent: error\ndata: {\"message\":\"m\"}\n\n",
    "\x03event: response.created\ndata: {\"type\":\"response.created\"}\n\nevent: response.completed\ndata: {}\n\n",
    "\x01data: {\"type\":\"response.failed\"}\n\n",
    "\x06id: 1\nretry: 5\ndata\n\ndata: {\"error\":{\"code\":429}}\n\n",
];
const REQUESTS: [&str; 9] = [
    "\0\0/admin/plugins\n\n",
    "\0\x02/admin/plugins/noop\n\n",
    "\0\0/metrics\n\n",
    "\x01\0/admin/plugins\ncontent-type: application/json\n\n{\"plugin\":\"noop\",\"name\":\"again\",\"priority\":5,\"config\":{}}",
    "\x01\0/admin/plugins\ncontent-type: application/json\n\n{\"path\":\"/nowhere/libx.so\",\"on_error\":\"fail\",\"sha256\":\"00\"}",
    "\x02\0/admin/plugins/noop\ncontent-type: application/json\n\n{\"priority\":null,\"on_error\":\"continue\"}",
    "\x01\0/admin/plugins/noop/disable\ncontent-type: application/json\n\n{}",
    "\x01\0/admin/reload\ncontent-type: application/json\norigin: null\n\n",
    "\x03\x01/admin/plugins/noop\nsec-fetch-site: none\n\n",
];

fn main() {
    let corpus = Path::new("corpus");
    manifests(&corpus.join("manifest"));
    let documents = DOCUMENTS.map(|seed| seed.replace("{TEXT}", TEXT));
    texts(&corpus.join("document"), &documents);
    texts(&corpus.join("sse"), &STREAMS);
    texts(&corpus.join("admin"), &REQUESTS);
    // The example is built without `cfg(fuzzing)`, so the target itself writes the seeds of the frames.
}

fn texts(folder: &Path, seeds: &[impl AsRef<[u8]>]) {
    fs::create_dir_all(folder).expect("the folder");
    for (at, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{at}")), seed).expect("a seed");
    }
}

/// Writes a small object file of each format, with a manifest.
fn manifests(folder: &Path) {
    fs::create_dir_all(folder).expect("the folder");
    let section = [b"LLMUXPLG", &(MANIFEST.len() as u32).to_le_bytes()[..], MANIFEST.as_bytes()].concat();
    let formats = [
        ("elf", BinaryFormat::Elf, Architecture::X86_64, Endianness::Little),
        ("elf-32", BinaryFormat::Elf, Architecture::Arm, Endianness::Little),
        ("elf-big", BinaryFormat::Elf, Architecture::PowerPc64, Endianness::Big),
        ("mach-o", BinaryFormat::MachO, Architecture::Aarch64, Endianness::Little),
        ("coff", BinaryFormat::Coff, Architecture::X86_64, Endianness::Little),
    ];
    for (name, format, architecture, endianness) in formats {
        let mut file = Object::new(format, architecture, endianness);
        let (segment, section_name) = match format {
            BinaryFormat::MachO => (&b"__DATA"[..], &b"__llmux"[..]),
            _ => (&b""[..], &b".llmux"[..]),
        };
        let id = file.add_section(segment.to_vec(), section_name.to_vec(), SectionKind::ReadOnlyData);
        file.append_section_data(id, &section, 8);
        let file = file.write().expect("an object file");
        if format == BinaryFormat::MachO {
            fs::write(folder.join("mach-o-universal"), universal(&file)).expect("a seed");
        }
        fs::write(folder.join(name), file).expect("a seed");
    }
    fs::write(folder.join("json"), MANIFEST).expect("a seed");
}

/// Builds a universal file with one part, for aarch64 (Apple's `mach-o/fat.h`).
fn universal(part: &[u8]) -> Vec<u8> {
    let head = [0xcafe_babe, 1, 0x0100_000c, 0, 28, part.len() as u32, 0];
    head.iter().flat_map(|word: &u32| word.to_be_bytes()).chain(part.iter().copied()).collect()
}
