//! Reads the contract out of its sources: the structs and the constants of `src/raw`, and the sizes and offsets that
//! `tests/layout.rs` pins.
//!
//! `main` calls it, `c` renders what it returns. Deliberately absent: the types of `abi_stable` and `async-ffi`, which are
//! not in these sources.

use std::{collections::BTreeMap, fs, path::Path};

use llmux_abi::raw::version::TARGET;
use syn::{
    Attribute, BinOp, Expr, ExprLit, Field, Ident, Item, Lit, LitInt, Token, Type, braced,
    parse::{Parse, ParseStream},
};

/// A struct of the contract with its layout.
pub(crate) struct Struct {
    pub(crate) name: String,
    /// Whether it is a table, which begins with a head.
    pub(crate) is_table: bool,
    pub(crate) fields: Vec<(String, Type)>,
    pub(crate) layout: Pinned,
}

/// A constant of the contract.
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) value: Value,
}

/// The value of a constant.
pub(crate) enum Value {
    Number(u64),
    Text(String),
}

/// The contract.
pub(crate) struct Contract {
    pub(crate) structs: Vec<Struct>,
    pub(crate) constants: Vec<Constant>,
}

impl Contract {
    /// Reads the contract.
    pub(crate) fn read() -> Self {
        let mut pinned = pinned();
        let mut contract = Self { structs: vec![], constants: vec![] };
        for item in sources().into_iter().flat_map(|file| file.items) {
            match item {
                // The content of an object is not part of the contract.
                Item::Struct(item) if !item.ident.to_string().ends_with("Object") => {
                    let name = item.ident.to_string();
                    let layout = pinned.remove(&name);
                    let layout = layout.unwrap_or_else(|| panic!("tests/layout.rs does not pin `{name}`"));
                    let is_table = item.attrs.iter().any(is_prefix);
                    let fields = item.fields.iter().filter(|field| !is_phantom(field));
                    let fields = fields.map(|field| (name_of(field), field.ty.clone())).collect();
                    contract.structs.push(Struct { name, is_table, fields, layout });
                }
                Item::Const(item) => {
                    let name = item.ident.to_string();
                    let value =
                        evaluate(&item.expr).unwrap_or_else(|| panic!("no rule for the value of `{name}`"));
                    contract.constants.push(Constant { name, value });
                }
                _ => {}
            }
        }
        assert!(pinned.is_empty(), "tests/layout.rs pins what src/raw does not have: {:?}", pinned.keys());
        contract
    }
}

/// Returns the value of an expression, if it is one of those that the contract uses.
fn evaluate(expression: &Expr) -> Option<Value> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok().map(Value::Number),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(Value::Text(text.value())),
        Expr::Lit(ExprLit { lit: Lit::ByteStr(text), .. }) => {
            String::from_utf8(text.value()).ok().map(Value::Text)
        }
        Expr::Unary(unary) => evaluate(&unary.expr),
        Expr::Binary(binary) => match (evaluate(&binary.left)?, &binary.op, evaluate(&binary.right)?) {
            (Value::Number(left), BinOp::Mul(_), Value::Number(right)) => Some(Value::Number(left * right)),
            _ => None,
        },
        // The segment and the section of Mach-O. C compilers join the two with a comma.
        Expr::Tuple(tuple) => {
            let parts = tuple.elems.iter().map(|part| match evaluate(part) {
                Some(Value::Text(text)) => Some(text),
                _ => None,
            });
            Some(Value::Text(parts.collect::<Option<Vec<_>>>()?.join(",")))
        }
        Expr::Macro(it) if it.mac.path.is_ident("env") => Some(Value::Text(TARGET.to_owned())),
        _ => None,
    }
}

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources() -> Vec<syn::File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/raw");
    let files = fs::read_dir(folder).expect("the contract").map(|file| file.expect("a file").file_name());
    let mut files: Vec<_> = files.map(|file| format!("src/raw/{}", file.to_string_lossy())).collect();
    files.sort();
    files.iter().map(|file| syn::parse_file(&text(file)).expect("Rust")).collect()
}

fn name_of(field: &Field) -> String {
    field.ident.as_ref().expect("a field has a name").to_string()
}

/// Returns true for `#[sabi(kind(Prefix(…)))]`.
fn is_prefix(attribute: &Attribute) -> bool {
    let list = attribute.meta.require_list().ok().filter(|list| list.path.is_ident("sabi"));
    list.is_some_and(|list| list.tokens.to_string().replace(' ', "").contains("kind(Prefix("))
}

fn is_phantom(field: &Field) -> bool {
    matches!(&field.ty, Type::Path(path) if path.path.segments.last().is_some_and(|it| it.ident == "PhantomData"))
}

/// The layout of a struct in `tests/layout.rs`. A table is pinned without its head.
pub(crate) struct Pinned {
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) offsets: BTreeMap<String, usize>,
}

/// One use of the macro `pinned!`.
struct Entry {
    name: String,
    pinned: Pinned,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let word = |expected: &str| {
            let word: Ident = input.parse()?;
            assert_eq!(word, expected, "the syntax of `pinned!`");
            input.parse::<LitInt>()?.base10_parse::<usize>()
        };
        input.parse::<Ident>()?;
        input.parse::<Token![,]>()?;
        input.parse::<Ident>()?;
        input.parse::<Token![::]>()?;
        let name = input.parse::<Ident>()?.to_string();
        input.parse::<Token![,]>()?;
        let size = word("size")?;
        input.parse::<Token![,]>()?;
        let align = word("align")?;
        input.parse::<Token![,]>()?;
        let fields;
        braced!(fields in input);
        let mut offsets = BTreeMap::new();
        while !fields.is_empty() {
            let field: Ident = fields.parse()?;
            offsets.insert(field.to_string(), fields.parse::<LitInt>()?.base10_parse()?);
        }
        Ok(Self { name, pinned: Pinned { size, align, offsets } })
    }
}

/// Returns the layouts that `tests/layout.rs` pins, by the names of the structs.
fn pinned() -> BTreeMap<String, Pinned> {
    let file = syn::parse_file(&text("tests/layout.rs")).expect("Rust");
    let mut found = BTreeMap::new();
    for item in file.items {
        let Item::Macro(item) = item else { continue };
        if item.mac.path.is_ident("pinned") {
            let entry: Entry = item.mac.parse_body().expect("the syntax of `pinned!`");
            found.insert(entry.name, entry.pinned);
        }
    }
    assert!(found.len() > 30, "only {} pinned structs were found", found.len());
    found
}
