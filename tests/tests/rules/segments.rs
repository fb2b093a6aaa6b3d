//! Rule D2 on libraries whose sections are intact, while the parts that the system's loader reads are false. The loader
//! would crash the host, so each is refused before.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use std::{fs, ops::Range};

use llmux_core::{
    PluginSpec,
    plugins::{Check, LibraryError, Manifest, VerifyOptions, verify},
};
use llmux_tests::{
    Fixtures, scripted,
    world::{builder, built},
};

/// A library's bytes, with the places of its program headers and of its dynamic table (ELF's `Elf64_Phdr`, `Elf64_Dyn`).
struct Library(Vec<u8>);

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
/// Places in a program header.
const OFFSET: usize = 8;
const ADDRESS: usize = 16;
const FILE_SIZE: usize = 32;
const MEMORY_SIZE: usize = 40;

impl Library {
    fn guard() -> Self {
        Self(fs::read(Fixtures::get().guard()).expect("the guard"))
    }

    fn number(&self, at: usize, size: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.0[at..at + size]);
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Returns the place of the first program header of a type.
    fn header(&self, kind: u64) -> usize {
        let (first, count) = (self.number(32, 8) as usize, self.number(56, 2) as usize);
        let mut headers = (0..count).map(|at| first + at * 56);
        headers.find(|at| self.number(*at, 4) == kind).expect("a header of this type")
    }

    /// Returns the place of the value of an entry of the dynamic table.
    fn dynamic(&self, tag: u64) -> usize {
        let header = self.header(PT_DYNAMIC);
        let (start, size) =
            (self.number(header + OFFSET, 8) as usize, self.number(header + FILE_SIZE, 8) as usize);
        let mut entries = (start..start + size).step_by(16);
        entries.find(|at| self.number(*at, 8) == tag).expect("an entry of this tag") + 8
    }

    /// Returns the place in the file of an address.
    fn place(&self, address: u64) -> usize {
        let (first, count) = (self.number(32, 8) as usize, self.number(56, 2) as usize);
        let mut headers = (0..count).map(|at| first + at * 56);
        let holds = |at: &usize| {
            let start = self.number(at + ADDRESS, 8);
            let held: Range<u64> = start..start + self.number(at + FILE_SIZE, 8);
            self.number(*at, 4) == PT_LOAD && held.contains(&address)
        };
        let header = headers.find(holds).expect("a segment");
        (address - self.number(header + ADDRESS, 8) + self.number(header + OFFSET, 8)) as usize
    }
}

/// A part of the refusal, and the damage that causes it.
type Case = (&'static str, fn(&mut Library));

const FAR: u64 = 1 << 40;

#[tokio::test]
async fn d2_intact_sections_with_false_segments_are_refused_before_the_library_is_loaded() {
    let cases: [Case; 16] = [
        ("goes beyond the end of the file", |it| it.write(it.header(PT_LOAD) + FILE_SIZE, FAR)),
        ("goes beyond the end of the file", |it| it.write(it.header(PT_LOAD) + OFFSET, it.0.len() as u64)),
        ("goes beyond the end of the file", |it| it.write(it.header(PT_DYNAMIC) + OFFSET, FAR)),
        ("goes beyond the end of the memory", |it| it.write(it.header(PT_LOAD) + ADDRESS, u64::MAX << 12)),
        ("overlaps the one before it", |it| it.write(it.header(PT_LOAD) + MEMORY_SIZE, FAR)),
        ("is larger in the file than in memory", |it| it.write(it.header(PT_LOAD) + MEMORY_SIZE, 1)),
        ("is not aligned", |it| it.write(it.header(PT_LOAD) + ADDRESS, 1)),
        ("it has 0 dynamic tables", |it| {
            let at = it.header(PT_DYNAMIC);
            it.0[at..at + 4].fill(0);
        }),
        ("its dynamic table is outside", |it| it.write(it.header(PT_DYNAMIC) + ADDRESS, FAR)),
        ("its relocations are outside", |it| it.write(it.dynamic(7), FAR)),
        ("its symbols are outside", |it| it.write(it.dynamic(6), FAR)),
        ("its names of symbols are outside", |it| it.write(it.dynamic(10), FAR)),
        ("its initializers are outside", |it| it.write(it.dynamic(25), FAR)),
        ("its hashes of symbols are outside", |it| it.write(it.dynamic(0x6fff_fef5), FAR)),
        ("its names of libraries are outside", |it| it.write(it.dynamic(1), FAR)),
        ("its relocated places are outside", |it| {
            let first = it.place(it.number(it.dynamic(7), 8));
            it.write(first, FAR);
        }),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let client = built(builder(&scripted([])), []).await;
    for (at, (expected, damage)) in cases.into_iter().enumerate() {
        let mut library = Library::guard();
        damage(&mut library);
        assert_eq!(Manifest::read(&library.0).expect("its sections are intact").name, "guard");
        let path = folder.path().join(format!("{at}.so"));
        fs::write(&path, &library.0).expect("written");
        let refused = verify(&path, &VerifyOptions::default()).expect_err(expected);
        assert_eq!(refused.check(), Check::Segments, "{refused}");
        assert!(refused.to_string().contains(expected), "{at}: {refused}");
        client.plugins().load(PluginSpec::path(&path)).await.expect_err("refused");
    }
    assert_eq!(client.plugins().retired().count, 0, "nothing was mapped");
}

#[test]
fn d2_a_missing_entry_is_found_without_loading() {
    let mut bytes = Library::guard().0;
    let symbol = b"\0llmux_plugin_llmux_guard\0";
    let at = bytes.windows(symbol.len()).position(|it| it == symbol).expect("the name of the symbol");
    bytes[at + symbol.len() - 2] = b'x';
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("renamed.so");
    fs::write(&path, bytes).expect("written");
    let refused = verify(&path, &VerifyOptions::default()).expect_err("refused");
    assert!(
        matches!(&refused, LibraryError::NoEntry { entry, .. } if entry == "llmux_plugin_llmux_guard"),
        "{refused:?}"
    );
    assert_eq!(refused.check(), Check::Entry);
}

#[test]
fn d2_every_library_of_the_tests_has_sound_segments() {
    let fixtures = Fixtures::get();
    for library in [fixtures.probe(), fixtures.misbehaving(), fixtures.tables(), fixtures.whole()] {
        verify(&library, &VerifyOptions::default())
            .unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    }
}
