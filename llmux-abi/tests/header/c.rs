//! Renders the contract in C: the declaration that the header must have for each struct, and the assertions about the layout
//! that a compiler checks.
//!
//! `main` calls it. The rules of names: `RawHost` is `LlmuxHost`, `HostTable` is `LlmuxHostTable`, and `HOOK_DROP` is
//! `LLMUX_HOOK_DROP`.

use syn::{GenericArgument, PathArguments, ReturnType, Type, TypeFnPtr, TypePath};

use crate::contract::{Constant, Struct};

/// Size of the head of a table, which the pinned layouts do not count.
const HEAD: usize = 16;

/// Returns the C name of a type of the contract.
fn type_name(rust: &str) -> String {
    let rust = rust.strip_suffix("Ref").unwrap_or(rust);
    format!("Llmux{}", rust.strip_prefix("Raw").unwrap_or(rust))
}

/// Returns the last segment of a path, and the types between its angle brackets.
fn segment(path: &TypePath) -> (String, Vec<&Type>) {
    let last = path.path.segments.last().expect("a path has a name");
    let types = match &last.arguments {
        PathArguments::AngleBracketed(list) => list
            .args
            .iter()
            .filter_map(|it| match it {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
            .collect(),
        _ => vec![],
    };
    (last.ident.to_string(), types)
}

/// Returns a pointer to a C type.
fn pointer(to: &str, is_const: bool) -> String {
    let space = if to.ends_with('*') { "" } else { " " };
    format!("{}{to}{space}*", if is_const { "const " } else { "" })
}

/// Returns a type in C.
fn c_type(ty: &Type) -> String {
    match ty {
        Type::Tuple(tuple) if tuple.elems.is_empty() => "void".to_owned(),
        Type::Ptr(ptr) => {
            pointer(&c_type(&ptr.elem), matches!(ptr.mutability, syn::PointerMutability::Const(_)))
        }
        Type::Reference(reference) => pointer(&c_type(&reference.elem), reference.mutability.is_none()),
        Type::Path(path) => c_path(path),
        _ => panic!("no rule for a type that is no path, pointer, reference or `()`"),
    }
}

fn c_path(path: &TypePath) -> String {
    let (name, types) = segment(path);
    match (name.as_str(), &types[..]) {
        ("bool", []) => "bool".to_owned(),
        ("u8", []) => "uint8_t".to_owned(),
        ("u16", []) => "uint16_t".to_owned(),
        ("u32", []) => "uint32_t".to_owned(),
        ("u64", []) => "uint64_t".to_owned(),
        ("i64", []) => "int64_t".to_owned(),
        ("f64", []) => "double".to_owned(),
        ("usize", []) => "size_t".to_owned(),
        ("RStr", []) => "LlmuxStr".to_owned(),
        ("FfiContext", []) => "LlmuxPollContext".to_owned(),
        ("RSlice", [item]) => match c_type(item).as_str() {
            "uint8_t" => "LlmuxBytes".to_owned(),
            "double" => "LlmuxDoubles".to_owned(),
            item => format!("{item}s"),
        },
        ("ROption", [value]) => match c_type(value).as_str() {
            "int64_t" => "LlmuxI64Option".to_owned(),
            "uint64_t" => "LlmuxU64Option".to_owned(),
            value => format!("{}Option", value.trim_start_matches("const ").trim_end_matches(" *")),
        },
        ("RRef", [to]) => pointer(&c_type(to), true),
        ("RMut", [to]) => pointer(&c_type(to), false),
        ("FfiFuture" | "BorrowingFfiFuture", [value]) => match c_type(value).as_str() {
            "void" => "LlmuxFuture".to_owned(),
            "uint32_t" => "LlmuxCodeFuture".to_owned(),
            value => format!("{value}Future"),
        },
        // A pointer that may be null.
        ("Option", [to]) => c_type(to),
        (name, []) if name.ends_with("Ref") => pointer(&type_name(name), true),
        (name, []) => type_name(name),
        _ => panic!("no rule for the type `{name}`"),
    }
}

/// Returns a function of a table as a field in C.
fn c_function(name: &str, function: &TypeFnPtr) -> String {
    let parameters = function.inputs.iter().map(|parameter| {
        let (name, _) = parameter.name.as_ref().expect("each parameter has a name");
        declare(&name.to_string(), &parameter.ty)
    });
    let parameters: Vec<_> = parameters.collect();
    let result = match &function.output {
        ReturnType::Default => "void".to_owned(),
        ReturnType::Type(_, ty) => c_type(ty),
    };
    format!("{result} (*{name})({})", parameters.join(", "))
}

fn declare(name: &str, ty: &Type) -> String {
    match ty {
        Type::FnPtr(function) => c_function(name, function),
        Type::Path(path) => match segment(path) {
            (option, types) if option == "Option" && matches!(types[..], [Type::FnPtr(_)]) => {
                declare(name, types[0])
            }
            _ => format!("{} {name}", c_path(path)),
        },
        ty => format!("{} {name}", c_type(ty)),
    }
}

/// Returns the C name of a struct.
pub(crate) fn name(it: &Struct) -> String {
    type_name(&it.name)
}

/// Returns the fields of a struct as C declares them.
pub(crate) fn fields(it: &Struct) -> String {
    let head = it.is_table.then(|| "LlmuxTableHead head;".to_owned());
    let fields = it.fields.iter().map(|(name, ty)| format!("{};", declare(name, ty)));
    head.into_iter().chain(fields).collect()
}

/// Returns the assertions about the layout of a struct.
pub(crate) fn assertions(it: &Struct) -> String {
    let (name, head) = (name(it), if it.is_table { HEAD } else { 0 });
    let mut text = format!(
        "static_assert(sizeof({name}) == {}, \"size\");\nstatic_assert(alignof({name}) == {}, \"align\");\n",
        it.layout.size + head,
        it.layout.align
    );
    for (field, _) in &it.fields {
        let offset = it.layout.offsets[field] + head;
        text += &format!("static_assert(offsetof({name}, {field}) == {offset}, \"{field}\");\n");
    }
    text
}

/// Returns the C name of a constant.
pub(crate) fn constant_name(it: &Constant) -> String {
    format!("LLMUX_{}", it.name)
}
