//! `llmux plugin list --dir`, `inspect` and `verify`: looks at libraries without a server and without running
//! anything of them (rule D1).

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use llmux_core::plugins::{LibraryError, Manifest, VerifyOptions, discover};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    output::{self, Tone},
    plugin_error::library_code,
    problem::{Problem, Result},
};

/// Lists the libraries in folders.
pub(crate) fn list(folders: &[PathBuf], json: bool) -> Result<()> {
    let found = discover(folders, &VerifyOptions::default()).map_err(Problem::new)?;
    if json {
        let found = found.iter().map(|one| match &one.manifest {
            Ok(manifest) => json!({"path": one.path, "loadable": true, "error": null, "manifest": manifest}),
            Err(error) => {
                json!({"path": one.path, "loadable": false, "error": said(error), "manifest": null})
            }
        });
        return output::print_json(&json!({"libraries": found.collect::<Vec<_>>()}));
    }
    let rows = found.iter().map(|one| {
        let file = one.path.file_name().unwrap_or(one.path.as_os_str()).to_string_lossy().into_owned();
        let cells = match &one.manifest {
            Ok(manifest) => [
                (manifest.name.clone(), Tone::Plain),
                (manifest.version.to_string(), Tone::Plain),
                (manifest.abi.to_string(), Tone::Plain),
                (manifest.priority.to_string(), Tone::Plain),
                ("yes".to_owned(), Tone::Good),
                (manifest.description.clone(), Tone::Muted),
            ],
            Err(error) => {
                let [name, version, abi, priority] = [(); 4].map(|()| ("-".to_owned(), Tone::Muted));
                [name, version, abi, priority, ("no".to_owned(), Tone::Bad), (error.to_string(), Tone::Bad)]
            }
        };
        [(file, Tone::Plain)].into_iter().chain(cells).collect()
    });
    output::print_table(
        &["FILE", "PLUGIN", "VERSION", "ABI", "PRIORITY", "LOADS HERE", "DESCRIPTION"],
        rows.collect(),
    )
}

/// Shows what a library says of itself, and whether this host would load it.
pub(crate) fn inspect(file: &Path, json: bool) -> Result<()> {
    let refused = |error: &LibraryError| Problem::new(format!("{}: {error}", file.display()));
    let bytes = read(file).map_err(|error| refused(&error))?;
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = Manifest::read(&bytes).map_err(|error| refused(&error))?;
    let verdict = llmux_core::plugins::verify(file, &VerifyOptions::default()).err();
    if json {
        return output::print_json(&json!({
            "path": file, "size": bytes.len(), "sha256": sha256, "loadable": verdict.is_none(),
            "error": verdict.as_ref().map(said), "manifest": manifest,
        }));
    }
    let on_error = manifest.on_error.map(|on_error| json!(on_error)).unwrap_or_default();
    let panic = json!(manifest.panic);
    let mut rows = [
        ("file", file.display().to_string()),
        ("name", manifest.name),
        ("version", manifest.version.to_string()),
        ("description", manifest.description),
        ("authors", manifest.authors.replace(':', ", ")),
        ("license", manifest.license),
        ("abi", manifest.abi.to_string()),
        ("sdk", manifest.sdk),
        ("rustc", manifest.rustc),
        ("target", manifest.target),
        ("panic", panic.as_str().unwrap_or_default().to_owned()),
        ("priority", manifest.priority.to_string()),
        ("on error", on_error.as_str().unwrap_or("the pipeline's").to_owned()),
        ("size", format!("{} bytes", bytes.len())),
        ("sha256", sha256),
    ]
    .map(|(name, value)| vec![(name.to_owned(), Tone::Muted), (value, Tone::Plain)])
    .to_vec();
    rows.push(match verdict {
        None => vec![("loads here".to_owned(), Tone::Muted), ("yes".to_owned(), Tone::Good)],
        Some(error) => vec![("loads here".to_owned(), Tone::Muted), (format!("no: {error}"), Tone::Bad)],
    });
    output::print_table(&[], rows)
}

/// Makes every check of a library that needs no loading.
pub(crate) fn verify(file: &Path, sha256: Option<String>, json: bool) -> Result<()> {
    let options = VerifyOptions { sha256, ..VerifyOptions::default() };
    match llmux_core::plugins::verify(file, &options) {
        Ok(library) => match json {
            true => output::print_json(&json!({
                "path": file, "ok": true, "error": null, "sha256": library.sha256, "manifest": library.manifest,
            })),
            false => output::print(&format!(
                "{}: {} {} may be loaded here, SHA-256 {}\n",
                file.display(),
                library.manifest.name,
                library.manifest.version,
                library.sha256
            )),
        },
        Err(error) => {
            if json {
                output::print_json(&json!({"path": file, "ok": false, "error": said(&error)}))?;
            }
            Err(Problem::new(format!("{}: {error}", file.display())))
        }
    }
}

/// The check that failed, and why.
fn said(error: &LibraryError) -> Value {
    json!({"code": library_code(error), "message": error.to_string()})
}

/// The bytes of a file, which may be anything: a pipe would be waited for, and a large file has no end.
fn read(file: &Path) -> Result<Vec<u8>, LibraryError> {
    let max = VerifyOptions::default().max_size;
    let metadata = std::fs::metadata(file).map_err(LibraryError::Read)?;
    if !metadata.is_file() {
        return Err(LibraryError::NotAFile);
    }
    if metadata.len() > max {
        return Err(LibraryError::TooLarge { size: metadata.len(), max });
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(max).read_to_end(&mut bytes)).map_err(LibraryError::Read)?;
    Ok(bytes)
}
