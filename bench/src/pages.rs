//! The files that hold the results: a part of `docs/performance.md`, `docs/performance.svg`, and the JSON file.
//!
//! `main` calls it. Deliberately absent: their content, which `report` and `plot` make.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Line of the page before the part that this program writes.
const BEGIN: &str = "<!-- llmux-bench begin -->\n";

/// Line of the page after the part that this program writes.
const END: &str = "<!-- llmux-bench end -->\n";

/// Returns the page and the plot in the sources of this program.
fn files() -> (PathBuf, PathBuf) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    (docs.join("performance.md"), docs.join("performance.svg"))
}

/// Writes the tables into the page, and the plot beside it.
///
/// # Errors
///
/// If the page has no place for the tables, or a file cannot be read or written.
pub(crate) fn write(markdown: &str, svg: &str) -> Result<(), String> {
    let (page, plot) = files();
    let text =
        fs::read_to_string(&page).map_err(|error| format!("cannot read {}: {error}", page.display()))?;
    let text = replaced(&text, markdown).map_err(|error| format!("{}: {error}", page.display()))?;
    write_file(&page, &text)?;
    write_file(&plot, svg)
}

/// Writes a file.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_file(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Returns the page with a new text between the two lines.
fn replaced(page: &str, text: &str) -> Result<String, String> {
    let missing = |line: &str| format!("the line `{}` must stand there once", line.trim_end());
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    if after.contains(BEGIN) || after.contains(END) || before.contains(END) {
        return Err(missing(BEGIN) + ", and so must the line of the end");
    }
    Ok([before, BEGIN, "\n", text, "\n", END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_place_for_the_tables() {
        let page = fs::read_to_string(files().0).expect("the page");
        let written = replaced(&page, "| a |\n").expect("a place");
        assert!(written.contains("begin -->\n\n| a |\n\n<!--"), "{written}");
        assert_eq!(replaced(&written, "| a |\n").as_deref(), Ok(&*written), "written twice");
        assert_eq!(replaced(&written, "b\n").expect("a place").matches("| a |").count(), 0);
        assert!(written.starts_with(page.split(BEGIN).next().expect("a beginning")));
        assert!(written.ends_with(page.split(END).last().expect("an end")));
    }

    #[test]
    fn a_page_without_one_place_is_refused() {
        for page in ["", BEGIN, END, &[END, BEGIN].concat(), &[BEGIN, END, BEGIN, END].concat()] {
            assert!(replaced(page, "").is_err(), "{page}");
        }
    }
}
