//! Writes the seeds of the fuzzer: a small object file of each format, with a manifest.

use std::{fs, path::PathBuf};

use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};

const MANIFEST: &str = r#"{"name":"a","version":"1.2.3","description":"d","authors":"b","license":"MIT","abi":"0.2.0-dev","sdk":"0.1.0","rustc":"r","target":"t","panic":"unwind","entry":"llmux_plugin_a","on_error":"fail","priority":50}"#;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("a folder to write to"));
    fs::create_dir_all(&folder).expect("the folder");
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
