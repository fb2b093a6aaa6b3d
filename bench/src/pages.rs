//! The files that hold the results: parts of `docs/performance.md`, `docs/performance.svg`, and the JSON file.
//!
//! `main` calls it. Deliberately absent: their content, which `report` and `plot` make.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A part of the page that this program writes: the lines before and after it.
pub(crate) struct Part {
    begin: &'static str,
    end: &'static str,
}

/// The tables of gateways and cases.
pub(crate) const GATEWAYS: Part =
    Part { begin: "<!-- llmux-bench begin -->\n", end: "<!-- llmux-bench end -->\n" };

/// The table of the cost per plugin.
pub(crate) const PER_PLUGIN: Part =
    Part { begin: "<!-- llmux-bench per-plugin begin -->\n", end: "<!-- llmux-bench per-plugin end -->\n" };

/// Returns the page and the plot in the sources of this program.
fn files() -> (PathBuf, PathBuf) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    (docs.join("performance.md"), docs.join("performance.svg"))
}

/// Writes a part of the page.
///
/// # Errors
///
/// If the page has no place for the part, or cannot be read or written.
pub(crate) fn write(part: &Part, markdown: &str) -> Result<(), String> {
    let (page, _) = files();
    let text =
        fs::read_to_string(&page).map_err(|error| format!("cannot read {}: {error}", page.display()))?;
    let text = replaced(&text, part, markdown).map_err(|error| format!("{}: {error}", page.display()))?;
    write_file(&page, &text)
}

/// Writes the plot beside the page.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_plot(svg: &str) -> Result<(), String> {
    write_file(&files().1, svg)
}

/// Writes a file.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_file(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Returns the page with a new text between the two lines of a part.
fn replaced(page: &str, &Part { begin, end }: &Part, text: &str) -> Result<String, String> {
    let missing = |line: &str| format!("the line `{}` must stand there once", line.trim_end());
    let (before, rest) = page.split_once(begin).ok_or_else(|| missing(begin))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| missing(end))?;
    if after.contains(begin) || after.contains(end) || before.contains(end) {
        return Err(missing(begin) + ", and so must the line of the end");
    }
    Ok([before, begin, "\n", text, "\n", end, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_each_part() {
        let page = fs::read_to_string(files().0).expect("the page");
        for part in [GATEWAYS, PER_PLUGIN] {
            let written = replaced(&page, &part, "| a |\n").expect("a place");
            assert!(written.contains("begin -->\n\n| a |\n\n<!--"), "{written}");
            assert_eq!(replaced(&written, &part, "| a |\n").as_deref(), Ok(&*written), "written twice");
            assert_eq!(replaced(&written, &part, "b\n").expect("a place").matches("| a |").count(), 0);
            assert!(written.starts_with(page.split(part.begin).next().expect("a beginning")));
            assert!(written.ends_with(page.split(part.end).last().expect("an end")));
        }
    }

    #[test]
    fn a_page_without_one_place_is_refused() {
        let Part { begin, end } = GATEWAYS;
        for page in ["", begin, end, &[end, begin].concat(), &[begin, end, begin, end].concat()] {
            assert!(replaced(page, &GATEWAYS, "").is_err(), "{page}");
        }
    }
}
