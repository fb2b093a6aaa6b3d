//! Instances that fail closed: the events that weaken one, and the required instances that are not active afterwards.

use super::check_guards;

#[test]
fn a_change_of_an_operator_weakens_a_guard() {
    check_guards(&[
        ("start; operator load a:fail; operator unload a", "a removed"),
        ("start; operator load a:fail; operator disable a", "a disabled"),
        ("start; operator load a:fail; operator set a on_error=continue", "a set to `continue`"),
        ("start; operator load a:fail; operator set a on_error=-", "a set to `continue`"),
        ("start propagate; operator load a:fail; operator set a on_error=-", ""),
        ("start; operator load a:fail; operator set a prio=5 config=1", ""),
        ("start; operator load a:fail; operator load b:fail", ""),
        ("start; operator load a:fail, load b:fail; operator unload a, disable b", "a removed; b disabled"),
        ("start; operator load a; operator unload a", ""),
        ("start; operator load a:continue; operator disable a", ""),
        ("start; operator load a:fail; operator disable a; operator unload a", ""),
        ("start; operator load a:fail; operator disable a; operator enable a", ""),
        ("start; operator load a:fail; operator unload a, load a:fail", ""),
        ("start; operator load a:fail; operator unload a, load a", "a set to `continue`"),
        ("file a.so 1 a!; start; operator load a=a.so; operator unload a", "a removed"),
        ("file a.so 1 a!; start; operator load a=a.so:continue; operator unload a", ""),
        ("file a.so 1 a!; start autoload; operator unload a", "a removed"),
        ("file a.so 1 a!; start autoload; operator set a on_error=continue", "a set to `continue`"),
    ]);
}

#[test]
fn a_reload_of_the_configuration_weakens_a_guard() {
    check_guards(&[
        ("start a:fail b:fail; configure a:fail b:fail", ""),
        ("start a:fail; configure", "a removed"),
        ("start a:fail; configure b=a:fail", "a removed"),
        ("start a:fail; configure a:fail:off", "a disabled"),
        ("start a:fail; configure a:continue", "a set to `continue`"),
        ("start a:fail; configure a", "a set to `continue`"),
        ("start a propagate; configure a", "a set to `continue`"),
        ("start a propagate; configure a:fail", ""),
        ("start a=x:fail; configure a=y:fail", ""),
        ("start a=x:fail; configure a=y", "a set to `continue`"),
        ("start a; configure", ""),
        ("start a; operator set a on_error=fail; configure a", "a set to `continue`"),
        ("file a.so 1 a!; start a=a.so; configure a", ""),
        ("file a.so 1 a!; start a=a.so; configure a=a.so:continue", "a set to `continue`"),
        ("file a.so 1 a!; file b.so 1 a!; start a=a.so; configure a=b.so", ""),
        ("file a.so 1 a!; file b.so 1 a; start a=a.so; configure a=b.so", "a set to `continue`"),
        ("file a.so 1 a!; start autoload; configure", "a removed"),
        ("file a.so 1 a!; start autoload; configure autoload dir=/q", "a removed"),
        ("file a.so 1 a!; start autoload; configure x=a autoload", "a removed"),
        ("file a.so 1 a!; start autoload; configure a=a.so autoload", ""),
        ("file a.so 1 a!; start a=a.so autoload; configure autoload", ""),
        ("file a.so 1 a!; start autoload; remove a.so; configure autoload", ""),
    ]);
}

#[test]
fn other_bytes_of_the_library_weaken_nothing() {
    check_guards(&[
        ("file a.so 1 a!; start a=a.so; file a.so 2 a; operator reload a", ""),
        ("file a.so 1 a!; start a=a.so; file a.so 2 a; look", ""),
        (
            "file a.so 1 a!; start a=a.so; file a.so 2 a; operator reload a, set a on_error=continue",
            "a set to `continue`",
        ),
    ]);
}

#[test]
fn a_required_instance_that_does_not_run_is_known() {
    let off = "a is not active";
    check_guards(&[
        ("start required=a", off),
        ("start a required=a", ""),
        ("start a:off required=a", ""),
        ("start; operator load a:fail; operator disable a; configure required=a", ""),
        ("start a required=a; operator disable a", ""),
        ("start a required=a; operator unload a", off),
        ("start a required=a; operator unload a; operator load a", ""),
        ("start a; operator unload a", ""),
        ("start a:fail; operator unload a", "a removed; a is not active"),
        ("start a:fail; operator unload a; operator load x", off),
        ("start a:fail; operator unload a; operator load a", ""),
        ("start a:fail; operator disable a", "a disabled"),
        ("start a:fail; operator set a on_error=continue; operator unload a", ""),
        ("start a:fail; operator unload a; configure", ""),
        ("file a.so 1 a!; start a=a.so; operator unload a", "a removed; a is not active"),
        ("start; operator load a:fail; operator unload a", "a removed"),
        ("file a.so 1; start autoload required=a", ""),
        ("bad-file a.so 1; start autoload required=a", off),
    ]);
}

#[test]
fn a_refused_file_of_a_guard_is_a_required_instance() {
    let off = "a is not active";
    check_guards(&[
        ("bad-file a.so 1 a!; start autoload", off),
        ("bad-file a.so 1 a; start autoload", ""),
        ("bad-file a.so 1 a!; start", ""),
        ("fails a.so; file a.so 1 a!; start autoload", off),
        ("bad-file a.so 1 a!; start autoload; file a.so 2 a!; look", ""),
        ("bad-file a.so 1 a!; start autoload; remove a.so; look", ""),
        ("bad-file a.so 1 a!; start autoload; configure", ""),
        ("file a.so 1 a!; start autoload; bad-file a.so 2 a!; look", ""),
        ("file a.so 1 a!; start autoload; file b.so 2 a!; look", ""),
        ("file a.so 1 a!; file b.so 2 a!; start autoload", off),
        ("file a.so 1 a!; start autoload; remove a.so; fails b.so; file b.so 2 a!; look", ""),
    ]);
}
