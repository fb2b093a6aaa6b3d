//! `llmux plugin new`: creates the crate of a plugin.
//!
//! The program calls [`new_plugin`]. Deliberately absent: the files of the crate, which are `template`'s.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    io::ErrorKind,
    path::Path,
};

use llmux_terminal::{CliError, Result, print};

use crate::{
    args::NewArgs,
    template::{Values, crate_name, files, type_name, uses},
};

/// Repository of LLMux, the default place of its crates until they are published.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Words that are no name of a crate: cargo and the compiler refuse them.
const RESERVED: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern \
                        false final fn for gen if impl in let loop macro match mod move mut override priv proc-macro pub \
                        ref return self static std struct super test trait true try type typeof unsafe unsized use \
                        virtual where while yield";

/// Crates that the new crate depends on.
const DEPENDENCIES: [&str; 7] =
    ["llmux-abi", "llmux-core", "llmux-testing", "schemars", "serde", "serde-json", "tokio"];

/// Creates the crate of a plugin in a new folder, and prints the next steps.
///
/// # Errors
///
/// If the name or another argument is wrong, if the folder exists, or if it cannot be written.
pub fn new_plugin(options: &NewArgs) -> Result<()> {
    let name = &*options.name;
    check_name(name)?;
    check_description(&options.description)?;
    let llmux = match &options.llmux {
        Some(named) => place(named)?,
        None => default_place(),
    };
    let folder = Path::new(name);
    fs::create_dir(folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CliError::new(format!("`{name}` exists already; choose another name")),
        _ => CliError::new(format!("cannot create the folder `{name}`: {error}")),
    })?;
    let values = Values { name, description: &options.description, llmux: &llmux };
    if let Err(error) = write(folder, &values) {
        // Only files that this command wrote: the folder is new.
        let _ = fs::remove_dir_all(folder);
        return Err(error);
    }
    let library = format!("target/release/{DLL_PREFIX}{}{DLL_SUFFIX}", crate_name(name));
    print(&format!(
        "created `{name}`; it uses the crates of LLMux from {llmux}\n\nNext:\n  cd {name}\n  cargo test\n  \
         cargo build --release\n  llmux plugin try {library}\n  llmux plugin load {library}\n",
    ))
}

fn write(folder: &Path, values: &Values<'_>) -> Result<()> {
    for (name, text) in files(values) {
        let file = folder.join(name);
        let parent = file.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| CliError::new(format!("cannot write `{}`: {error}", file.display())))?;
    }
    Ok(())
}

/// Checks a name. It becomes the name of a crate, of a folder, of a type and of the plugin.
fn check_name(name: &str) -> Result<()> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let refused = |why: &str| Err(CliError::new(format!("`{name}` is not a valid name for a plugin: {why}")));
    if name.len() > 64 || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.split('-').all(is_word)
    {
        return refused("use at most 64 of a-z, 0-9 and single `-` between words, beginning with a letter");
    }
    if RESERVED.split(' ').any(|reserved| reserved == name) {
        return refused("cargo or the compiler reserves it; choose another name");
    }
    if DEPENDENCIES.contains(&name) {
        return refused("a crate that the plugin depends on has it; choose another name");
    }
    let type_name = type_name(name);
    if uses(&type_name) {
        return refused(&format!(
            "the code of a plugin uses `{type_name}` for something else; choose another name"
        ));
    }
    Ok(())
}

/// Checks a description. It is copied into TOML, a comment, and commands of the README.
fn check_description(description: &str) -> Result<()> {
    match description.chars().find(|c| c.is_control() || ['"', '\\', '`', '$', '{'].contains(c)) {
        Some(c) => Err(CliError::new(format!("--description is one line without {c:?}; write it without"))),
        None if description.trim().is_empty() => {
            Err(CliError::new("--description is empty; write one line, or leave the option out"))
        }
        None => Ok(()),
    }
}

/// Returns the place of the crates if none is named: their version on the registry for a released `llmux`, and the
/// repository for others.
fn default_place() -> String {
    match env!("CARGO_PKG_VERSION_PRE") {
        "" => concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR")).to_owned(),
        _ => REPOSITORY.to_owned(),
    }
}

/// Returns the place of the crates as a manifest names it: a git URL, an absolute path, or a version.
fn place(named: &str) -> Result<String> {
    let is_version = named.starts_with(|c: char| c.is_ascii_digit())
        && named.chars().all(|c| c.is_ascii_alphanumeric() || ['.', '-'].contains(&c));
    let refused = |why: &str| Err(CliError::new(format!("--llmux {named}: {why}")));
    if named.chars().any(|c| c.is_control() || ['"', '`', '$', '{'].contains(&c)) {
        return refused("it has a character that a manifest cannot hold; name another place");
    }
    if named.contains("://") || is_version {
        return Ok(named.to_owned());
    }
    let folder = fs::canonicalize(named).unwrap_or_default();
    if !folder.join("llmux-abi/Cargo.toml").is_file() {
        return refused(
            "no `llmux-abi/Cargo.toml` is there; pass the folder of LLMux's sources, a git URL (https://…), or a \
             version on crates.io (0.2)",
        );
    }
    match folder.to_str() {
        Some(folder) => Ok(folder.replace('\\', "/")),
        None => refused("the path is not UTF-8; move the sources to another folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_crate_a_type_and_a_plugin() {
        for good in ["a", "my-plugin", "pii-redact2", "signature", "x-2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        let malformed = ["", "My-Plugin", "my_plugin", "-a", "a-", "a--b", "2a", "a/b", "..", "é", &long];
        // `Config` and `Plugin` would be defined twice, or hide a trait.
        let taken = [
            "fn",
            "async",
            "self",
            "test",
            "std",
            "serde",
            "llmux-abi",
            "tokio",
            "config",
            "plugin",
            "harness",
        ];
        for wrong in malformed.into_iter().chain(taken) {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_description_fits_into_a_manifest_and_a_command() {
        assert!(check_description("Signs every answer, in Größe 5's style").is_ok());
        for wrong in ["", " ", "a \"b\"", "a\nb", "a\\", "$HOME", "{{llmux}}"] {
            assert!(check_description(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_place_of_the_crates_is_a_url_a_version_or_a_folder_with_them() {
        for same in ["https://example.com/llmux", "ssh://git@example.com/llmux.git", "0.2", "0.2.0-dev"] {
            assert_eq!(place(same).expect(same), same);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        assert_eq!(
            place("..").expect("the sources"),
            root.canonicalize().expect("there").to_str().expect("UTF-8")
        );
        for wrong in ["", "src", "nowhere", "git@example.com:llmux"] {
            let error = place(wrong).expect_err(wrong).to_string();
            assert!(error.contains("pass the folder of LLMux's sources"), "{error}");
        }
    }

    #[test]
    fn a_build_that_is_no_release_takes_the_crates_from_the_repository() {
        let is_release = env!("CARGO_PKG_VERSION_PRE").is_empty();
        assert_eq!(default_place().contains("://"), !is_release, "{}", default_place());
    }
}
