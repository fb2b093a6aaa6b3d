//! No `extern "C"` function unwinds: the body of each is one call of a guard. A panic in such a function ends the process,
//! whatever caused it, so the rule is held by the sources and not by an argument for each function.

use std::fs;

use llmux_testing::{blocks::root, files::files};
use syn::{Expr, ItemFn, Local, Stmt, visit::Visit};

/// Folders whose functions the other side of the contract calls.
const FOLDERS: [&str; 2] = ["llmux-abi/src/sdk/", "llmux-core/src/boundary/"];

/// Functions that guard their whole body.
const GUARDS: [&str; 3] = ["guarded", "guarded_or", "start"];

/// Functions without a neutral value: they only cast a pointer. The last one handles fatal signals: a plugin calls none of
/// its parts, and the process ends after it.
const CASTS: [&str; 4] =
    ["crash.rs: on_signal", "context.rs: state", "outcome.rs: body", "outcome.rs: request"];

/// Functions of a file, each with the reason for which it may unwind.
#[derive(Default)]
struct Functions {
    seen: usize,
    unguarded: Vec<(String, &'static str)>,
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, function: &'a ItemFn) {
        if function.sig.abi.is_some() {
            self.seen += 1;
            if let Err(why) = check(&function.block.stmts) {
                self.unguarded.push((function.sig.ident.to_string(), why));
            }
        }
        syn::visit::visit_item_fn(self, function);
    }
}

/// Checks a body: casts and closures, and then one call of a guard.
fn check(body: &[Stmt]) -> Result<(), &'static str> {
    let Some((last, first)) = body.split_last() else { return Ok(()) };
    for statement in first {
        let Stmt::Local(Local { init: Some(init), .. }) = statement else {
            return Err("a statement stands before the guard");
        };
        match &*init.expr {
            // A cast of the object, whose panic would be a fault of the cast.
            Expr::Unsafe(_) | Expr::Closure(_) => {}
            _ => return Err("a value is computed before the guard"),
        }
    }
    let Stmt::Expr(Expr::Call(call), _) = last else { return Err("the body is not one call of a guard") };
    match &*call.func {
        Expr::Path(path) if GUARDS.iter().any(|guard| path.path.is_ident(guard)) => Ok(()),
        _ => Err("the body is not one call of a guard"),
    }
}

fn functions(text: &str) -> Functions {
    let mut functions = Functions::default();
    functions.visit_file(&syn::parse_file(text).expect("Rust"));
    functions
}

#[test]
fn e5_every_function_of_the_contract_is_guarded() {
    let (mut seen, mut unguarded) = (0, Vec::new());
    for file in files("rs").into_iter().filter(|file| FOLDERS.iter().any(|folder| file.starts_with(folder))) {
        let found = functions(&fs::read_to_string(root().join(&file)).expect("a file"));
        seen += found.seen;
        let name = file.rsplit('/').next().unwrap_or_default().to_owned();
        unguarded.extend(
            found
                .unguarded
                .into_iter()
                .map(|(function, why)| (format!("{name}: {function}"), why))
                .filter(|(function, _)| !CASTS.contains(&&**function)),
        );
    }
    assert!(seen > 40, "the folders hold the functions of the contract, not {seen}");
    assert_eq!(unguarded, [], "functions of the contract that may unwind");
}

#[test]
fn the_check_refuses_code_outside_of_the_guard() {
    for (body, is_good) in [
        ("guarded(0, || work())", true),
        ("let x = unsafe { cast(o) }; start(x, || async {}, |a| a)", true),
        ("guarded((), || work());", true),
        ("work()", false),
        ("work(); guarded(0, || 1)", false),
        ("let x = work(); guarded(0, || x)", false),
        ("guarded(0, || 1) + work()", false),
    ] {
        let found = functions(&format!("extern \"C\" fn f() -> u32 {{ {body} }}"));
        assert_eq!((found.seen, found.unguarded.is_empty()), (1, is_good), "{body}");
    }
}
