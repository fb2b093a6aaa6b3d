//! `llmux plugin list --dir`, `inspect` and `verify`: show and check libraries without a server and without running
//! their code (rule D1), unless `verify --trial` asks for it.
//!
//! `plugin` calls it.

use std::path::{Path, PathBuf};

use llmux_core::plugins::{
    Check, InspectedLibrary, LibraryError, LibraryNeeds, SignatureState, TrustedKey, VerifyOptions,
    inspect as look, inspect_folders,
};
use llmux_terminal::{CliError, Result, Tone};
use serde_json::{Value, json};

use super::cli::Keys;
use crate::{admin::error::library_code, config::client::trial_program};

/// Lists the libraries in folders.
pub(crate) fn list(folders: &[PathBuf], keys: &Keys, long: bool, json: bool) -> Result<()> {
    let options = options(keys)?.with_folders(folders.to_vec());
    let found = inspect_folders(folders, &options).map_err(CliError::new)?;
    if json {
        return llmux_terminal::print_json(
            &json!({"libraries": found.iter().map(value).collect::<Vec<_>>()}),
        );
    }
    let rows = found.iter().map(|one| {
        let file = one.path.file_name().unwrap_or(one.path.as_os_str()).to_string_lossy().into_owned();
        let said = |what: &dyn Fn(&llmux_core::plugins::Manifest) -> String| match &one.manifest {
            // Shortened, because a column is as wide as its longest text.
            Some(manifest) => (llmux_terminal::short(&what(manifest)), Tone::Plain),
            None => ("-".to_owned(), Tone::Muted),
        };
        let loads = match &one.refused {
            None => ("yes".to_owned(), Tone::Good),
            Some(error) => (format!("no: {error}"), Tone::Bad),
        };
        // 12 digits distinguish libraries.
        let digits = if long { 64 } else { 12 };
        let sha256 = one.sha256.as_deref().map_or("-", |sha256| &sha256[..digits]).to_owned();
        let mut row = vec![
            (file, Tone::Plain),
            said(&|it| it.name.clone()),
            said(&|it| it.version.to_string()),
            said(&|it| it.abi.to_string()),
            said(&|it| it.target.clone()),
            said(&|it| it.priority.to_string()),
            (one.size.map_or("-".to_owned(), |size| size.to_string()), Tone::Plain),
            (sha256, Tone::Muted),
            (signature(one).to_owned(), Tone::Plain),
            said(&|it| it.description.clone()),
        ];
        if long {
            row.extend([
                said(&|it| it.authors.replace(':', ", ")),
                said(&|it| it.license.clone()),
                said(&|it| it.sdk.clone()),
                said(&|it| it.rustc.clone()),
                said(&|it| json!(it.panic).as_str().unwrap_or_default().to_owned()),
            ]);
        }
        row.push(loads);
        row
    });
    let mut header = vec![
        "FILE",
        "PLUGIN",
        "VERSION",
        "ABI",
        "TARGET",
        "PRIORITY",
        "SIZE",
        "SHA-256",
        "SIGNATURE",
        "DESCRIPTION",
    ];
    if long {
        header.extend(["AUTHORS", "LICENSE", "SDK", "RUSTC", "PANIC"]);
    }
    header.push("LOADS HERE");
    llmux_terminal::print_table(&header, rows.collect())?;
    for file in folders.iter().flat_map(|folder| with_version(folder)) {
        llmux_terminal::print(&format!(
            "not listed: {} (the name of a plugin's library ends in `.so`)\n",
            file.display()
        ))?;
    }
    Ok(())
}

/// Returns the files of a folder whose name has a version after `.so`, such as `liblogging.so.1`. No host looks at them.
fn with_version(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let has_version = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split_once(".so.")
            .is_some_and(|(_, version)| version.starts_with(|it: char| it.is_ascii_digit()))
    };
    let mut files: Vec<_> = files.filter(has_version).collect();
    files.sort();
    files
}

/// Shows a library's manifest, and whether this host would load it.
pub(crate) fn inspect(file: &Path, keys: &Keys, json: bool) -> Result<()> {
    let seen = look(file, &options(keys)?);
    // Without a manifest, only the reason can be shown.
    if seen.manifest.is_none()
        && let Some(error) = &seen.refused
    {
        if json {
            llmux_terminal::print_json(&value(&seen))?;
        }
        return Err(CliError::new(format!("{}: {error}", file.display())));
    }
    if json {
        return llmux_terminal::print_json(&value(&seen));
    }
    let signature = signature(&seen);
    let InspectedLibrary { size, sha256, manifest: Some(manifest), needs, refused, .. } = seen else {
        return Ok(());
    };
    let on_error = manifest.on_error.map(|on_error| json!(on_error)).unwrap_or_default();
    let panic = json!(manifest.panic);
    let streams = match manifest.streams {
        _ if manifest.misses_streams() => "streamed answers are not seen by this plugin".to_owned(),
        Some(streams) => json!(streams).as_str().unwrap_or_default().to_owned(),
        None => "by its hooks".to_owned(),
    };
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
        ("streams", streams),
        ("size", format!("{} bytes", size.unwrap_or_default())),
        ("sha256", sha256.unwrap_or_default()),
        ("signature", signature.to_owned()),
        ("entry", manifest.entry),
    ]
    .map(|(name, value)| vec![(name.to_owned(), Tone::Muted), (value, Tone::Plain)])
    .to_vec();
    rows.extend(needs.iter().flat_map(need_rows));
    rows.push(match refused {
        None => vec![("loads here".to_owned(), Tone::Muted), ("yes".to_owned(), Tone::Good)],
        Some(error) => vec![("loads here".to_owned(), Tone::Muted), (format!("no: {error}"), Tone::Bad)],
    });
    llmux_terminal::print_table(&[], rows)
}

/// Runs every check of a library that needs no loading, and with `trial` loads it in a child process. Prints each result.
pub(crate) async fn verify(
    file: &Path,
    sha256: Option<String>,
    keys: &Keys,
    trial: bool,
    json: bool,
) -> Result<()> {
    let options = options(keys)?;
    // If keys are named, a signature by one of them is required.
    let require_signature = !options.trusted_keys.is_empty();
    let options = options.with_sha256(sha256.clone()).with_require_signature(require_signature);
    let mut seen = look(file, &options);
    if trial && !json {
        llmux_terminal::print("--trial runs code of the library, in a child process\n")?;
    }
    let mut missing_sandbox = Vec::new();
    if trial && seen.refused.is_none() {
        match trial_program()?.verify(file, &options).await {
            Ok(tried) => missing_sandbox = tried.missing_sandbox,
            Err(error) => seen.refused = Some(error),
        }
    }
    let shown: Vec<Check> = Check::ALL.into_iter().chain(trial.then_some(Check::Loading)).collect();
    let failed = seen.refused.as_ref().map(LibraryError::check);
    let state = |check: Check| match failed {
        Some(failed) if check == failed => "failed",
        Some(failed) if check > failed => "not reached",
        _ => match check {
            Check::Checksum if sha256.is_none() => "not requested",
            Check::Signature if !require_signature => signature(&seen),
            _ => "passed",
        },
    };
    let verdict = match &seen.refused {
        Some(error) => Err(CliError::new(format!("{}: {error}", file.display()))),
        None => Ok(()),
    };
    if json {
        let checks: Vec<_> =
            shown.iter().map(|check| json!({"check": check, "result": state(*check)})).collect();
        llmux_terminal::print_json(&json!({
            "path": file.to_string_lossy(), "ok": verdict.is_ok(), "error": seen.refused.as_ref().map(said), "checks": checks,
            "sha256": seen.sha256, "manifest": seen.manifest, "needs": seen.needs, "missing_sandbox": missing_sandbox,
        }))?;
        return verdict;
    }
    let rows = shown.into_iter().map(|check| {
        let (state, error) = (state(check), seen.refused.as_ref().filter(|_| Some(check) == failed));
        let tone = match state {
            "passed" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Muted,
        };
        let why = error.map(ToString::to_string).unwrap_or_default();
        vec![(check.as_str().to_owned(), Tone::Plain), (state.to_owned(), tone), (why, Tone::Bad)]
    });
    llmux_terminal::print_table(&[], rows.collect())?;
    for part in missing_sandbox {
        llmux_terminal::print(&format!("the sandbox of the trial is incomplete: {part}\n"))?;
    }
    if let Some(needs) = &seen.needs {
        let entry = seen.manifest.as_ref().map_or("-", |manifest| &manifest.entry);
        let entry = vec![("entry".to_owned(), Tone::Muted), (entry.to_owned(), Tone::Plain)];
        llmux_terminal::print_table(&[], [entry].into_iter().chain(need_rows(needs)).collect())?;
    }
    if let (Ok(()), Some(manifest)) = (&verdict, &seen.manifest) {
        llmux_terminal::print(&format!(
            "{}: {} {} may be loaded here, SHA-256 {}\n",
            file.display(),
            manifest.name,
            manifest.version,
            seen.sha256.as_deref().unwrap_or_default()
        ))?;
    }
    verdict
}

fn options(keys: &Keys) -> Result<VerifyOptions> {
    let keys = keys.keys.iter().map(|key| {
        let text = match TrustedKey::parse(key) {
            Ok(key) => return Ok(key),
            Err(_) => std::fs::read_to_string(key).map_err(|error| {
                CliError::new(format!(
                    "--key {key}: not a public key of minisign (RW…), nor a file with one: {error}"
                ))
            })?,
        };
        TrustedKey::parse(&text).map_err(|message| CliError::new(format!("--key {key}: {message}")))
    });
    Ok(VerifyOptions::default().with_trusted_keys(keys.collect::<Result<_>>()?))
}

fn value(one: &InspectedLibrary) -> Value {
    json!({
        "path": one.path.to_string_lossy(), "size": one.size, "sha256": one.sha256, "signature": signature(one),
        "loadable": one.refused.is_none(), "error": one.refused.as_ref().map(said), "manifest": one.manifest,
        "needs": one.needs,
    })
}

/// Returns a row for each kind of need.
fn need_rows(needs: &LibraryNeeds) -> Vec<Vec<(String, Tone)>> {
    let libraries = needs.libraries.iter().map(|library| match needs.glibc.get(library) {
        Some(version) => format!("{library} ({version})"),
        None => library.clone(),
    });
    let folders = |folders: &[String]| if folders.is_empty() { "none".to_owned() } else { folders.join(":") };
    let static_tls = if needs.static_tls { "yes" } else { "no" };
    let rows = [
        ("needs", libraries.collect::<Vec<_>>().join(", ")),
        ("rpath", folders(&needs.rpath)),
        ("runpath", folders(&needs.runpath)),
        ("static tls", format!("{static_tls} (thread-local values: {} bytes)", needs.tls_bytes)),
    ];
    rows.map(|(name, value)| vec![(name.to_owned(), Tone::Muted), (value, Tone::Plain)]).to_vec()
}

/// Returns the failed check, its code and its message as JSON.
fn said(error: &LibraryError) -> Value {
    json!({"code": library_code(error), "check": error.check(), "message": error.to_string()})
}

fn signature(one: &InspectedLibrary) -> &'static str {
    match (&one.signature, &one.refused) {
        (Some(SignatureState::Missing), _) => "none",
        (Some(SignatureState::Unchecked), _) => "unchecked",
        (Some(SignatureState::Valid(_)), _) => "valid",
        (None, _) if one.sha256.is_some() => "invalid",
        (None, _) => "-",
    }
}
