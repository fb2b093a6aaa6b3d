//! Checks the parts of an ELF file that the system's loader reads: program headers, the dynamic table, relocations, and
//! the symbols that the library exports (rule D2). A linker reads sections instead: they may be intact while these are
//! false, and then the loader crashes the host. No code of the library runs.
//!
//! The bytes may be hostile: every range is compared with the file. `verify` calls it, and `needs` reads an [`Image`].

use object::{
    Endianness, FileKind, Object,
    elf::{
        self, DT_FINI, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, DT_GNU_HASH, DT_HASH, DT_INIT, DT_INIT_ARRAY,
        DT_INIT_ARRAYSZ, DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTRELSZ, DT_RELA, DT_RELASZ, DT_STRSZ, DT_STRTAB,
        DT_SYMTAB, DT_VERDEF, DT_VERNEED, DT_VERSYM, Dyn64, FileHeader64, PF_X, PT_DYNAMIC, PT_LOAD, PT_NULL,
        PT_TLS, Rela64, SHN_UNDEF, Sym64,
    },
    pod::{self, Pod},
    read::{
        NameOrOrdinal,
        elf::{Dyn, FileHeader, GnuHashTable, HashTable, ProgramHeader},
    },
};

use super::{error::LibraryError, object_file};

type Header = FileHeader64<Endianness>;
type Result<T> = std::result::Result<T, String>;

/// Checks that everything that the loader reads lies within the file and within the segments.
pub(super) fn check(library: &[u8]) -> std::result::Result<(), LibraryError> {
    if is_elf(library) {
        Image::parse(library).map_err(LibraryError::Segments)?;
    }
    Ok(())
}

/// Reads a library as the loader maps it; `None` if it is no ELF library for 64 bits, or its program headers are false.
pub(super) fn read_image(library: &[u8]) -> Option<Image<'_>> {
    if is_elf(library) { Image::read(library).ok() } else { None }
}

/// Checks that the library exports the symbol.
pub(super) fn check_entry(library: &[u8], entry: &str) -> std::result::Result<(), LibraryError> {
    let found = match is_elf(library) {
        true => Image::parse(library).map_err(LibraryError::Segments)?.exports(entry),
        false => exports(library, entry)?,
    };
    match found {
        true => Ok(()),
        false => {
            let message =
                "it is not among its exported symbols (was the library stripped, or linked otherwise?)";
            Err(LibraryError::NoEntry { entry: entry.to_owned(), message: message.to_owned() })
        }
    }
}

fn is_elf(library: &[u8]) -> bool {
    matches!(FileKind::parse(library), Ok(FileKind::Elf64))
}

/// Looks a symbol up in a Mach-O or PE file. Mach-O puts `_` before each name.
fn exports(library: &[u8], entry: &str) -> std::result::Result<bool, LibraryError> {
    let damaged = |error: object::Error| LibraryError::Segments(error.to_string());
    for export in object_file::parse(library)?.exports().map_err(damaged)? {
        let export = export.map_err(damaged)?;
        let NameOrOrdinal::Name(name) = export.name() else { continue };
        if name == entry.as_bytes() || name.strip_prefix(b"_") == Some(entry.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A segment that the loader maps.
struct Load {
    start: u64,
    /// End of the part that is in the file.
    file_end: u64,
    end: u64,
    offset: u64,
    is_executable: bool,
}

/// A library as the loader maps it.
pub(super) struct Image<'data> {
    bytes: &'data [u8],
    pub(super) endian: Endianness,
    /// Architecture, as a number of the ELF specification.
    pub(super) machine: elf::Machine,
    /// Size of the thread-local values of one thread, in bytes.
    pub(super) tls_bytes: u64,
    loads: Vec<Load>,
    dynamic: &'data [Dyn64<Endianness>],
}

impl<'data> Image<'data> {
    fn parse(bytes: &'data [u8]) -> Result<Self> {
        let image = Self::read(bytes)?;
        image.check_dynamic()?;
        Ok(image)
    }

    /// Reads the program headers, and finds the dynamic table. Does not check its content.
    fn read(bytes: &'data [u8]) -> Result<Self> {
        let said = |error: object::Error| error.to_string();
        let header = Header::parse(bytes).map_err(said)?;
        let endian = header.endian().map_err(said)?;
        let machine = header.e_machine(endian);
        let mut image = Self { bytes, endian, machine, tls_bytes: 0, loads: Vec::new(), dynamic: &[] };
        let mut dynamic = Vec::new();
        for (at, segment) in header.program_headers(endian, bytes).map_err(said)?.iter().enumerate() {
            let (offset, size) = (segment.p_offset(endian), segment.p_filesz(endian));
            let (start, in_memory) = (segment.p_vaddr(endian), segment.p_memsz(endian));
            let kind = segment.p_type(endian);
            if kind == PT_NULL {
                continue;
            }
            if offset.checked_add(size).is_none_or(|end| end > bytes.len() as u64) {
                return Err(format!("segment {at} goes beyond the end of the file"));
            }
            let (Some(file_end), Some(end)) = (start.checked_add(size), start.checked_add(in_memory)) else {
                return Err(format!("segment {at} goes beyond the end of the memory"));
            };
            if kind == PT_DYNAMIC {
                dynamic.push((start, size));
            }
            if kind == PT_TLS {
                image.tls_bytes = in_memory;
            }
            if kind != PT_LOAD {
                continue;
            }
            let align = segment.p_align(endian).max(1);
            if !align.is_power_of_two() || start % align != offset % align {
                return Err(format!("segment {at} is not aligned"));
            }
            if size > in_memory {
                return Err(format!("segment {at} is larger in the file than in memory"));
            }
            if image.loads.last().is_some_and(|last| last.end > start) {
                return Err(format!("segment {at} overlaps the one before it"));
            }
            let is_executable = segment.p_flags(endian).0 & PF_X.0 != 0;
            image.loads.push(Load { start, file_end, end, offset, is_executable });
        }
        let [(start, size)] = dynamic[..] else {
            return Err(format!("it has {} dynamic tables, and must have one", dynamic.len()));
        };
        image.dynamic = image.array(start, size).ok_or("its dynamic table is outside of its segments")?;
        Ok(image)
    }

    /// Returns the bytes from this address on, to the end of the segment's part in the file.
    pub(super) fn from(&self, start: u64) -> Option<&'data [u8]> {
        let load = self.loads.iter().find(|load| (load.start..load.file_end).contains(&start))?;
        let at = |address: u64| usize::try_from(load.offset + (address - load.start)).ok();
        self.bytes.get(at(start)?..at(load.file_end)?)
    }

    fn array<T: Pod>(&self, start: u64, size: u64) -> Option<&'data [T]> {
        let bytes = self.from(start)?.get(..usize::try_from(size).ok()?)?;
        Some(pod::slice_from_bytes(bytes, bytes.len() / size_of::<T>()).ok()?.0)
    }

    fn is_mapped(&self, start: u64, size: u64) -> bool {
        let Some(end) = start.checked_add(size) else { return false };
        self.loads.iter().any(|load| load.start <= start && end <= load.end)
    }

    /// Returns the value of an entry of the dynamic table.
    pub(super) fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.values(tag).next()
    }

    /// Returns the values of all entries of this tag in the dynamic table.
    pub(super) fn values(&self, tag: elf::DynamicTag) -> impl Iterator<Item = u64> {
        let entries = self.dynamic.iter().take_while(|entry| entry.d_tag(self.endian) != DT_NULL);
        entries.filter(move |entry| entry.d_tag(self.endian) == tag).map(|entry| entry.d_val(self.endian))
    }

    fn check_dynamic(&self) -> Result<()> {
        if !self.dynamic.iter().any(|entry| entry.d_tag(self.endian) == DT_NULL) {
            return Err("its dynamic table has no end".to_owned());
        }
        let outside = |what: &str| format!("its {what} are outside of its segments");
        for (what, start, size) in [
            ("relocations", DT_RELA, DT_RELASZ),
            ("relocations of functions", DT_JMPREL, DT_PLTRELSZ),
            ("initializers", DT_INIT_ARRAY, DT_INIT_ARRAYSZ),
            ("functions for the end", DT_FINI_ARRAY, DT_FINI_ARRAYSZ),
            ("names of symbols", DT_STRTAB, DT_STRSZ),
        ] {
            if let Some(start) = self.value(start)
                && self.array::<u8>(start, self.value(size).unwrap_or(0)).is_none()
            {
                return Err(outside(what));
            }
        }
        for (what, start) in [
            ("symbols", DT_SYMTAB),
            ("hashes of symbols", DT_GNU_HASH),
            ("hashes of symbols", DT_HASH),
            ("versions of symbols", DT_VERSYM),
            ("versions of symbols", DT_VERNEED),
            ("versions of symbols", DT_VERDEF),
        ] {
            if self.value(start).is_some_and(|start| self.from(start).is_none()) {
                return Err(outside(what));
            }
        }
        let is_code =
            |start: &u64| self.loads.iter().any(|it| it.is_executable && (it.start..it.end).contains(start));
        if [DT_INIT, DT_FINI].iter().filter_map(|tag| self.value(*tag)).any(|start| !is_code(&start)) {
            return Err(outside("initializers"));
        }
        let names = self.names();
        let mut needed = self.dynamic.iter().filter(|entry| entry.d_tag(self.endian) == DT_NEEDED);
        if names.last().is_some_and(|last| *last != 0)
            || needed.any(|entry| entry.d_val(self.endian) >= names.len() as u64)
        {
            return Err(outside("names of libraries"));
        }
        for (start, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
            let (start, size) = (self.value(start).unwrap_or(0), self.value(size).unwrap_or(0));
            let relocations: &[Rela64<Endianness>] = self.array(start, size).unwrap_or_default();
            let is_false = |it: &&Rela64<Endianness>| !self.is_mapped(it.r_offset.get(self.endian), 8);
            if relocations.iter().any(|it| is_false(&it)) {
                return Err(outside("relocated places"));
            }
        }
        Ok(())
    }

    /// Returns the table of names.
    pub(super) fn names(&self) -> &'data [u8] {
        let (start, size) = (self.value(DT_STRTAB), self.value(DT_STRSZ));
        start.zip(size).and_then(|(start, size)| self.array(start, size)).unwrap_or_default()
    }

    /// Returns true if the dynamic table exports an object of this name, which the segments hold.
    fn exports(&self, entry: &str) -> bool {
        let (names, symbols) = (self.names(), self.symbols().unwrap_or_default());
        let is_it = |symbol: &&Sym64<Endianness>| {
            let name = names.get(symbol.st_name.get(self.endian) as usize..);
            let rest = name.and_then(|name| name.strip_prefix(entry.as_bytes()));
            let (address, size) = (symbol.st_value.get(self.endian), symbol.st_size.get(self.endian));
            rest.and_then(<[u8]>::first) == Some(&0)
                && symbol.st_shndx.get(self.endian) != SHN_UNDEF
                && self.is_mapped(address, size)
        };
        symbols.iter().any(|symbol| is_it(&symbol))
    }

    /// Returns the symbols. Only a hash table has their number.
    pub(super) fn symbols(&self) -> Option<&'data [Sym64<Endianness>]> {
        let gnu = self.value(DT_GNU_HASH).and_then(|start| self.from(start));
        let gnu = gnu.and_then(|table| GnuHashTable::<Header>::parse(self.endian, table).ok());
        let count = match gnu {
            Some(table) => table.symbol_table_length(self.endian)?,
            None => {
                let table = self.value(DT_HASH).and_then(|start| self.from(start))?;
                HashTable::<Header>::parse(self.endian, table).ok()?.symbol_table_length()
            }
        };
        let size = u64::from(count).checked_mul(size_of::<Sym64<Endianness>>() as u64)?;
        self.array(self.value(DT_SYMTAB)?, size)
    }
}
