//! Parses a library's bytes as an object file: ELF, Mach-O or PE, for any machine. No code of the library runs.
//!
//! The bytes may be hostile: sections and names are bounded here. `manifest` and `verify` call it.

use std::ops::Range;

use object::{
    Architecture, FileKind, Object, ReadRef,
    read::macho::{FatArch, MachOFatFile32, MachOFatFile64},
};

use super::error::LibraryError;

/// Limit of the number of sections. Windows itself loads at most 96.
const MAX_SECTIONS: usize = 128;
/// Limit of the length of a section's name. In hostile bytes, a name may have no end.
const MAX_NAME: u64 = 4096;

/// Bytes of a file, in which the end of a name is not searched for beyond [`MAX_NAME`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'data>(&'data [u8]);

impl<'data> ReadRef<'data> for Bytes<'data> {
    fn len(self) -> Result<u64, ()> {
        ReadRef::len(self.0)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        self.0.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        let end = range.end.min(range.start.saturating_add(MAX_NAME));
        self.0.read_bytes_at_until(range.start..end, delimiter)
    }
}

/// The architecture of this host.
pub(super) const HERE: Architecture =
    if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

/// Parses a library. Of a universal file, takes the part for this architecture, or the first if there is none.
///
/// # Errors
///
/// [`LibraryError::Format`].
pub(super) fn parse(library: &[u8]) -> Result<object::File<'_, Bytes<'_>>, LibraryError> {
    let damaged = |error: object::Error| LibraryError::Format(error.to_string());
    let part = match FileKind::parse(library).map_err(damaged)? {
        FileKind::MachOFat32 => part(library, MachOFatFile32::parse(library).map_err(damaged)?.arches()),
        FileKind::MachOFat64 => part(library, MachOFatFile64::parse(library).map_err(damaged)?.arches()),
        _ => Ok(library),
    };
    let file = object::File::parse(Bytes(part?)).map_err(damaged)?;
    if file.sections().nth(MAX_SECTIONS).is_some() {
        return Err(LibraryError::Format(format!("it has more than {MAX_SECTIONS} sections")));
    }
    Ok(file)
}

fn part<'data>(library: &'data [u8], parts: &[impl FatArch]) -> Result<&'data [u8], LibraryError> {
    // The system chooses among several by the processor's model, so the checked part might not be the loaded one.
    let mut here = parts.iter().filter(|part| part.architecture() == HERE);
    let part = match (here.next(), here.next()) {
        (_, Some(_)) => {
            return Err(LibraryError::Format(format!("it is a universal file with two parts for {HERE:?}")));
        }
        (part, None) => part.or(parts.first()),
    };
    let part =
        part.ok_or_else(|| LibraryError::Format("it is a universal file without a part".to_owned()))?;
    part.data(library).map_err(|error| LibraryError::Format(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CPU_TYPE_ARM64` or `CPU_TYPE_X86_64` (Apple's `mach/machine.h`).
    const HERE_IN_MACH_O: u32 = if cfg!(target_arch = "aarch64") { 0x0100_000c } else { 0x0100_0007 };

    /// The header of a 64-bit library, and sections without names or content, the first of them that of the names
    /// (the ELF specification's `Elf64_Ehdr`).
    fn elf(sections: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64 + 64 * usize::from(sections), 0);
        for (at, number) in
            [(16, 3), (18, 62), (20, 1), (40, 64), (52, 64), (58, 64), (60, sections), (62, 1), (132, 3)]
        {
            bytes[at..at + 2].copy_from_slice(&u16::to_le_bytes(number));
        }
        bytes
    }

    #[test]
    fn the_number_of_sections_is_bounded() {
        // The first is none.
        let most = MAX_SECTIONS as u16 + 1;
        parse(&elf(most)).expect("as many as there may be");
        let refused = parse(&elf(most + 1)).expect_err("one more").to_string();
        assert!(refused.contains("more than 128 sections"), "{refused}");
    }

    #[test]
    fn the_end_of_a_name_is_not_looked_for_for_long() {
        for (length, is_read) in [(MAX_NAME as usize - 1, true), (MAX_NAME as usize, false)] {
            let bytes = [vec![b'n'; length], vec![0]].concat();
            let read = Bytes(&bytes).read_bytes_at_until(0..bytes.len() as u64, 0);
            assert_eq!(read.map(<[u8]>::len), if is_read { Ok(length) } else { Err(()) });
        }
    }

    #[test]
    fn a_universal_file_without_a_usable_part_is_refused() {
        let universal = |parts: &[u32]| -> Vec<u8> {
            let words = [&[0xcafe_babe, parts.len() as u32 / 5], parts].concat();
            let padding = [0; 16];
            words.iter().flat_map(|word: &u32| word.to_be_bytes()).chain(padding).collect()
        };
        for (parts, expected) in [
            (&[][..], "without a part"),
            (&[0x0100_0007, 3, 4096, 64, 0][..], "Invalid fat arch"),
            (&[0x0100_0007, 3, 0, 28, 0][..], "Unsupported"),
            (&[HERE_IN_MACH_O, 3, 0, 28, 0, HERE_IN_MACH_O, 8, 0, 28, 0][..], "two parts for"),
        ] {
            let refused = parse(&universal(parts)).expect_err("refused").to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
