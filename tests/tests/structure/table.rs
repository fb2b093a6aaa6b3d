//! The checker on small inputs: each rule is seen broken, and its neighbor is seen to hold.

use crate::{
    layers::Layers,
    names::Workspace,
    rules::{Allowed, broken},
    sources::Target,
};

const DRAWING: &str = "
```layers
core
  client # a note
  > plugins::registry
  > plugins::library
  > pipeline
  > error, provider
```
";

/// The library `core`, whose root declares all of the modules `client`, `plugins`, `pipeline`, `provider` and `error` that have
/// a file in `files`.
fn core(files: &[(&str, &str)]) -> Target {
    let has = |name: &&str| {
        files.iter().any(|(file, _)| *file == format!("{name}.rs") || *file == format!("{name}/mod.rs"))
    };
    let declared = ["client", "plugins", "pipeline", "provider", "error"].into_iter().filter(has);
    let root: String = declared.map(|name| format!("mod {name};\n")).collect();
    read("core", files, &root)
}

fn read(package: &str, files: &[(&str, &str)], root: &str) -> Target {
    let folder = format!("{package}/src/");
    Target::read(package, true, &format!("{folder}lib.rs"), &|path| match path.strip_prefix(&folder)? {
        "lib.rs" => {
            let more = files.iter().find(|(file, _)| *file == "lib.rs").map_or("", |(_, text)| text);
            Some(format!("{root}{more}"))
        }
        file => files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned()),
    })
}

fn judge(targets: Vec<Target>, allowed: &[Allowed]) -> Vec<String> {
    let layers = Layers::read(DRAWING).expect("the drawing");
    broken(&Workspace { targets }, &layers, allowed)
}

/// The files of a library, and the beginning of each broken rule.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn a_path_upwards_is_found_in_every_form() {
    let client = ("client.rs", "pub fn call() {} pub struct Client;");
    let upwards = "must not use `client`, which is above it";
    let forms = [
        "use crate::client;",
        "use crate::client::Client;",
        "use crate::{client::{self, Client}};",
        "use crate::client::{\n    Client,\n};",
        "use crate::client::Client as Other;",
        "use crate::client::*;",
        "pub use crate::client::Client;",
        "use super::client::Client;",
        "use super::{client};",
        "use self::super::client::Client;",
        "fn f() { crate::client::call() }",
        "fn f() { super::client::call() }",
        "fn f() { use crate::client as c; c::call() }",
        "fn f() -> crate::client::Client { todo!() }",
        "impl super::client::Client {}",
        "struct S<T: From<crate::client::Client>>(T);",
        "fn f() { println!(\"{}\", crate::client::call()) }",
        "macro_rules! m { () => { $crate::client::call() } }",
        "#[serde(with = \"crate::client::call\")] struct S;",
        "#[derive(crate::client::Client)] struct S;",
        "mod inner { use super::super::client::Client; }",
        "mod inner { fn f() { crate::client::call() } }",
        "use crate::*; type T = Client;",
        "use crate::Client;",
        "fn f(_: crate::Client) {}",
    ];
    for form in forms {
        let text: &'static str = form.to_owned().leak();
        let root = ("lib.rs", "pub use client::Client;");
        let found = judge(vec![core(&[client, ("error.rs", text), root])], &[]);
        assert!(
            found.iter().any(|line| line.contains(upwards) && line.contains("core/src/error.rs:")),
            "{form}: {found:?}"
        );
    }
}

#[test]
fn a_path_upwards_is_found_and_no_other() {
    let cases: &[Case] = &[
        // Downwards, beside, and to other crates.
        (&[("client.rs", "use crate::error::Error;"), ("error.rs", "pub struct Error;")], &[]),
        (&[("provider.rs", "use crate::error::Error;"), ("error.rs", "pub struct Error;")], &[]),
        (&[("error.rs", "use std::fmt; use other::client::Client;"), ("client.rs", "")], &[]),
        // A local variable, a member, a field and a visibility are no paths to a module.
        (
            &[
                ("error.rs", "pub(in crate) fn f(client: u8) -> u8 { let x = S { client }; client }"),
                ("client.rs", ""),
            ],
            &[],
        ),
        // Code of tests is left out.
        (
            &[
                ("error.rs", "#[cfg(test)] mod tests { use crate::client::C; }"),
                ("client.rs", "pub struct C;"),
            ],
            &[],
        ),
        (&[("error.rs", "#[cfg(test)] mod tests;"), ("client.rs", "pub struct C;")], &[]),
        (
            &[("error.rs", "#[cfg(all(test, unix))] use crate::client::C;"), ("client.rs", "pub struct C;")],
            &[],
        ),
        (
            &[("error.rs", "#[cfg(not(test))] use crate::client::C;"), ("client.rs", "pub struct C;")],
            &["core/src/error.rs:1: `crate::client::C` (core/src/client.rs): `error` must not use `client`"],
        ),
        // The line is that of the path, and a file is shown once for another file.
        (
            &[
                ("error.rs", "\nuse crate::{\n    client::C,\n};\n\nfn f(_: C) {}"),
                ("client.rs", "pub struct C;"),
            ],
            &["core/src/error.rs:3: `crate::client::C`"],
        ),
        // A name that is taken through a re-export counts for the file that defines it.
        (
            &[
                ("error.rs", "use crate::provider::Client;"),
                ("provider.rs", "pub use crate::client::Client;"),
                ("client.rs", "pub struct Client;"),
            ],
            &[
                "core/src/error.rs:1: `crate::provider::Client` (core/src/client.rs): `error` must",
                "core/src/provider.rs:1:",
            ],
        ),
        (
            &[
                ("pipeline.rs", "use crate::plugins::Spec;"),
                ("plugins/mod.rs", "mod registry; pub use registry::*;"),
                ("plugins/registry.rs", "pub struct Spec;"),
            ],
            &[
                "core/src/pipeline.rs:1: `crate::plugins::Spec` (core/src/plugins/registry.rs): `pipeline` must",
            ],
        ),
        // A root may use everything, and its items are above all.
        (&[("lib.rs", "use client::C; fn f(_: C) {}"), ("client.rs", "pub struct C;")], &[]),
        (
            &[("lib.rs", "pub fn f() {}"), ("client.rs", "use crate::f;")],
            &["core/src/client.rs:1: `crate::f` (core/src/lib.rs): `client` must not use the root"],
        ),
        // Layers inside of a folder.
        (
            &[
                ("plugins/mod.rs", "mod registry; mod library;"),
                ("plugins/registry.rs", "pub struct R;"),
                ("plugins/library/mod.rs", "mod load;"),
                ("plugins/library/load.rs", "use super::super::registry::R;"),
            ],
            &[
                "core/src/plugins/library/load.rs:1: `super::super::registry::R` (core/src/plugins/registry.rs): `plugins::library::load` must not use `plugins::registry`",
            ],
        ),
        // Every module with code has a layer.
        (
            &[
                ("plugins/mod.rs", "mod odd;"),
                ("plugins/odd.rs", "use crate::error::E;"),
                ("error.rs", "pub struct E;"),
            ],
            &[
                "core/src/plugins/odd.rs:1: `crate::error::E` (core/src/error.rs): `plugins::odd` is in no layer",
            ],
        ),
    ];
    for (files, expected) in cases {
        let found = judge(vec![core(files)], &[]);
        let same = found.len() == expected.len()
            && found.iter().zip(*expected).all(|(line, start)| line.starts_with(start));
        assert!(same, "{files:?}\nexpected {expected:#?}\nfound {found:#?}");
    }
}

#[test]
fn files_that_import_each_other_are_found() {
    let cases: &[Case] = &[
        (
            &[
                ("error.rs", "use crate::provider::P; pub struct E;"),
                ("provider.rs", "use crate::error::E; pub struct P;"),
            ],
            &[
                "core/src/error.rs:1: files import each other: core/src/error.rs:1 `crate::provider::P`, core/src/provider.rs:1 `crate::error::E`",
            ],
        ),
        // By an inline path, and by a glob.
        (
            &[
                ("error.rs", "fn e() { crate::provider::p() }"),
                ("provider.rs", "use super::error::*; fn p() {}"),
            ],
            &["core/src/error.rs:1: files import each other"],
        ),
        // A parent that uses what it declares, and is used by it.
        (
            &[
                ("provider.rs", "mod echo; use echo::Echo; pub trait P {}"),
                ("provider/echo.rs", "use super::P; pub struct Echo;"),
            ],
            &["core/src/provider.rs:1: files import each other"],
        ),
        // A parent that only declares and re-exports is no importer.
        (
            &[
                ("provider/mod.rs", "mod echo; mod call; pub use call::P; pub use echo::Echo;"),
                ("provider/echo.rs", "use super::P; pub struct Echo;"),
                ("provider/call.rs", "pub trait P {}"),
            ],
            &[],
        ),
        // Three files in a circle.
        (
            &[
                ("provider/mod.rs", "mod a; mod b; mod c;"),
                ("provider/a.rs", "use super::b::B; pub struct A;"),
                ("provider/b.rs", "use super::c::C; pub struct B;"),
                ("provider/c.rs", "use super::a::A; pub struct C;"),
            ],
            &[
                "core/src/provider/a.rs:1: files import each other: core/src/provider/a.rs:1 `super::b::B`, core/src/provider/b.rs:1 `super::c::C`, core/src/provider/c.rs:1 `super::a::A`",
            ],
        ),
        // One way only.
        (&[("error.rs", "use crate::provider::P;"), ("provider.rs", "pub struct P;")], &[]),
    ];
    for (files, expected) in cases {
        let found = judge(vec![core(files)], &[]);
        let same = found.len() == expected.len()
            && found.iter().zip(*expected).all(|(line, start)| line.starts_with(start));
        assert!(same, "{files:?}\nexpected {expected:#?}\nfound {found:#?}");
    }
    let files = [
        ("error.rs", "use crate::provider::P; pub struct E;"),
        ("provider.rs", "use crate::error::E; pub struct P;"),
    ];
    let pair = Allowed { one: "core/src/error.rs", other: "core/src/provider.rs", reason: "…" };
    assert_eq!(judge(vec![core(&files)], &[pair]), [""; 0], "a pair of the list");
    let folder = Allowed { one: "core/src/", other: "core/src/", reason: "…" };
    assert_eq!(judge(vec![core(&files)], &[folder]), [""; 0], "a folder of the list");
    let stale = Allowed { one: "core/src/error.rs", other: "core/src/metrics.rs", reason: "once needed" };
    let broken = judge(vec![core(&[("error.rs", "pub struct E;")])], &[stale]);
    assert!(broken.len() == 1 && broken[0].contains("once needed"), "a pair that no file needs: {broken:?}");
}

#[test]
fn the_raw_contract_in_the_pipeline_is_found() {
    let contract = || {
        let root = "pub mod raw; mod sdk; pub use sdk::Plugin; pub use raw::Code;";
        read("llmux-abi", &[("raw.rs", "pub struct Code;"), ("sdk.rs", "pub struct Plugin;")], root)
    };
    for (file, text, is_refused) in [
        ("pipeline", "use llmux_abi::raw::Code;", true),
        ("pipeline", "use llmux_abi::raw;", true),
        ("pipeline", "fn f() { llmux_abi::raw::f() }", true),
        ("pipeline", "use llmux_abi::Code;", true),
        ("pipeline", "use llmux_abi::{Code as C};", true),
        ("pipeline", "use llmux_abi::Plugin;", false),
        ("boundary", "use llmux_abi::raw::Code;", false),
    ] {
        let files: [(&'static str, &'static str); 1] = [(format!("{file}/call.rs").leak(), text)];
        let root = format!("mod {file} {{ mod call; }}");
        let found = judge(vec![read("llmux-core", &files, &root), contract()], &[]);
        let expected = format!("llmux-core/src/{file}/call.rs:1: ");
        assert_eq!(
            found.iter().any(|line| line.starts_with(&expected) && line.contains("raw contract")),
            is_refused,
            "{text}: {found:?}"
        );
    }
}

#[test]
fn the_drawing_is_read() {
    let layers = Layers::read(DRAWING).expect("the drawing");
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0].package, "core");
    let of = |path: &str| layers[0].of(&path.split("::").map(str::to_owned).collect::<Vec<_>>());
    for (path, layer) in [
        ("client", Some(0)),
        ("client::deep::down", Some(0)),
        ("plugins::registry", Some(1)),
        ("plugins::library::load", Some(2)),
        ("plugins", None),
        ("plugins::other", None),
        ("provider", Some(4)),
        ("error", Some(4)),
    ] {
        assert_eq!(of(path), layer, "{path}");
    }
    assert!(Layers::read("no block").is_err());
    assert!(Layers::read("\n```layers\na\n").is_err(), "not closed");
    assert!(Layers::read(&format!("{DRAWING}{DRAWING}")).is_err(), "two");
    assert!(Layers::read("\n```layers\n  a\n```").is_err(), "no package");
}
