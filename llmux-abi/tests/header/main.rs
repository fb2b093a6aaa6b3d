//! The header `include/llmux.h` is the contract: each struct, function, parameter and constant of `raw` stands there, and a
//! C compiler and a C++ compiler find the same layout. `contract` reads the contract, `c` renders it.

#![cfg(target_pointer_width = "64")]

mod c;
mod contract;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::RRef,
    std_types::{ROption, RSlice, RStr},
};
use async_ffi::{FfiContext, FfiFuture, FfiPoll};
use llmux_abi::raw::{
    call::InstanceObject,
    document::RawDocument,
    flow::HookPoll,
    host::WorkTable,
    http::{RawHeader, RawHttpResponse},
    plugin::RawInstance,
    value::{RawField, RawValue},
};

use self::contract::{Contract, Value};

/// Tables that a plugin makes. The header has the number of fields of each.
const MADE_BY_PLUGINS: [&str; 6] =
    ["HttpCall", "MetricCall", "PluginModule", "PluginTable", "StreamTable", "WorkTable"];

/// Both compilers with the options that make them strict.
const COMPILERS: [(&str, [&str; 2]); 2] = [("cc", ["-std=c11", "-xc"]), ("c++", ["-std=c++17", "-xc++"])];

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

fn header() -> String {
    fs::read_to_string(include().join("llmux.h")).expect("the header")
}

/// Runs a compiler over a source, and returns its output.
fn compile(compiler: &str, options: &[&str], source: &str) -> String {
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]).arg(include()).args(options).arg("-");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!(
            "this test needs the compilers `cc` and `c++` (Debian: `gcc` and `g++`); `{compiler}`: {error}"
        )
    });
    child.stdin.take().expect("piped").write_all(source.as_bytes()).expect("the compiler reads its input");
    let output = child.wait_with_output().expect("the compiler ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler}: {errors}\nin\n{source}");
    String::from_utf8(output.stdout).expect("text")
}

/// Asserts that both compilers accept these assertions.
fn assert_in_c(assertions: &str) {
    let source = format!(
        "#include <llmux.h>\n#ifndef __cplusplus\n#include <assert.h>\n#include <stdalign.h>\n#endif\n{assertions}"
    );
    for (compiler, options) in COMPILERS {
        compile(compiler, &[&options[..], &["-fsyntax-only"]].concat(), &source);
    }
}

/// Removes comments, and every space that is not needed.
fn normalized(c: &str) -> String {
    let code = c.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words: String = code.flat_map(|line| [line, " "]).collect();
    let mut text = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for mark in ["(", ")", "{", "}", "*", ",", ";"] {
        for spaced in [format!(" {mark}"), format!("{mark} ")] {
            text = text.replace(&spaced, mark);
        }
    }
    text
}

#[test]
fn every_struct_has_the_fields_functions_and_parameters_of_the_contract() {
    let (header, contract) = (normalized(&header()), Contract::read());
    let mut missing = vec![];
    for it in contract.structs.iter().filter(|it| it.name != "EntryLayout") {
        let expected = normalized(&format!("struct {} {{ {} }}", c::name(it), c::fields(it)));
        if !header.contains(&expected) {
            missing.push(expected);
        }
    }
    assert!(missing.is_empty(), "llmux.h does not declare, as `raw` does:\n{}", missing.join("\n"));
}

#[test]
fn the_layout_of_every_struct_is_that_of_the_contract() {
    let structs = Contract::read().structs;
    let mut assertions: String =
        structs.iter().filter(|it| it.name != "EntryLayout").map(c::assertions).collect();
    for made in MADE_BY_PLUGINS {
        let it = structs.iter().find(|it| it.name == made).expect("a table of the contract");
        let name: String = made
            .chars()
            .flat_map(|c| [c.is_ascii_uppercase().then_some('_'), Some(c.to_ascii_uppercase())])
            .flatten()
            .collect();
        assertions += &format!("static_assert(LLMUX{name}_FIELDS == {}, \"{made}\");\n", it.fields.len());
    }
    assert_in_c(&assertions);
}

#[test]
fn every_constant_has_the_value_of_the_contract() {
    let constants = Contract::read().constants;
    assert!(constants.len() > 80, "only {} constants were found", constants.len());
    let mut assertions = String::new();
    let mut texts = vec![];
    for it in &constants {
        let name = c::constant_name(it);
        match &it.value {
            Value::Number(value) => {
                assertions += &format!("static_assert({name} == {value}, \"{name}\");\n");
            }
            Value::Text(value) => texts.push((name, value)),
        }
    }
    assert_in_c(&assertions);
    let source: String = texts.iter().map(|(name, _)| format!("@{name}@\n")).collect();
    for (compiler, options) in COMPILERS {
        let options = [&options[..], &["-E", "-P"]].concat();
        let expanded = compile(compiler, &options, &format!("#include <llmux.h>\n{source}"));
        let found: Vec<String> = expanded
            .lines()
            .filter_map(|line| line.strip_prefix('@')?.strip_suffix('@'))
            .map(|it| it.replace("\" \"", "").trim().to_owned())
            .collect();
        let expected: Vec<String> = texts.iter().map(|(_, value)| format!("\"{value}\"")).collect();
        assert_eq!(found, expected, "{compiler}: {source}");
    }
}

/// Returns assertions about the size and the alignment of a type.
fn layout<T>(name: &str) -> String {
    let (size, align) = (size_of::<T>(), align_of::<T>());
    format!("static_assert(sizeof({name}) == {size} && alignof({name}) == {align}, \"{name}\");\n")
}

/// Order and meaning of the fields are tested where plugins in C run.
#[test]
fn the_types_of_the_contracts_libraries_have_the_same_size_in_c() {
    let mut assertions = [
        layout::<RStr<'_>>("LlmuxStr"),
        layout::<RSlice<'_, u8>>("LlmuxBytes"),
        layout::<RSlice<'_, f64>>("LlmuxDoubles"),
        layout::<RSlice<'_, RStr<'_>>>("LlmuxStrs"),
        layout::<RSlice<'_, RawField<'_>>>("LlmuxFields"),
        layout::<RSlice<'_, RawHeader<'_>>>("LlmuxHeaders"),
        layout::<ROption<RStr<'_>>>("LlmuxStrOption"),
        layout::<ROption<i64>>("LlmuxI64Option"),
        layout::<ROption<u64>>("LlmuxU64Option"),
        layout::<ROption<RawValue<'_>>>("LlmuxValueOption"),
        layout::<ROption<RawDocument<'_>>>("LlmuxDocumentOption"),
        layout::<ROption<RRef<'_, InstanceObject>>>("LlmuxInstanceObjectOption"),
        layout::<ROption<RawInstance>>("LlmuxInstanceOption"),
        layout::<FfiContext<'_>>("LlmuxPollContext"),
        layout::<FfiPoll<()>>("LlmuxPoll"),
        layout::<FfiPoll<u32>>("LlmuxCodePoll"),
        layout::<FfiPoll<RawHttpResponse>>("LlmuxHttpResponsePoll"),
        layout::<FfiFuture<()>>("LlmuxFuture"),
        layout::<FfiFuture<u32>>("LlmuxCodeFuture"),
        layout::<FfiFuture<RawHttpResponse>>("LlmuxHttpResponseFuture"),
        layout::<HookPoll<'_>>("LlmuxHookPoll"),
    ]
    .concat();
    let head = size_of::<WithMetadata<WorkTable>>() - size_of::<WorkTable>();
    assertions += &format!("static_assert(sizeof(LlmuxTableHead) == {head}, \"LlmuxTableHead\");\n");
    assert_in_c(&assertions);
}

/// A program that ends with 0 if the macros and functions of the header do what their comments say.
const PROGRAM: &str = r#"
#include <llmux.h>

int main(void) {
    LlmuxHostTable host = {LLMUX_TABLE(7)};
    const LlmuxHostTable *table = &host;
    if (!LLMUX_HAS(table, retain) || !LLMUX_HAS(table, sleep) || LLMUX_HAS(table, http) || LLMUX_HAS(table, abi_version)) {
        return 1;
    }
    LlmuxTableHead all = LLMUX_TABLE(64);
    if (all.present != UINT64_MAX || host.head.present != 127) {
        return 2;
    }
    LlmuxStr empty = llmux_str_n(NULL, 0), text = llmux_str("four");
    if (empty.data == NULL || empty.length != 0 || text.length != 4 || memcmp(text.data, "four", 4) != 0) {
        return 3;
    }
    LlmuxFields none = llmux_fields(NULL, 0);
    if (none.data == NULL || (uintptr_t)none.data % sizeof(void *) != 0 || none.length != 0) {
        return 4;
    }
    LlmuxHookPoll ready = llmux_ready(LLMUX_HOOK_DROP);
    return ready.state == LLMUX_POLL_READY && ready.value.code == LLMUX_HOOK_DROP ? 0 : 5;
}
"#;

#[test]
fn the_macros_and_functions_of_the_header_do_what_their_comments_say() {
    for (compiler, options) in COMPILERS {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("header-{}", options[0]));
        // The rest of a table is zero, which C++ warns about.
        let program_option = program.to_str().expect("a path of UTF-8");
        let options = [&options[..], &["-Wno-missing-field-initializers", "-o", program_option]].concat();
        compile(compiler, &options, PROGRAM);
        let status = Command::new(&program).status().expect("the program runs");
        assert_eq!(status.code(), Some(0), "{compiler}: the number of the check that fails");
    }
}
