//! Plans of libraries in the plugin folders, and of autoloaded instances.

use super::check;

#[test]
fn d8_each_unused_library_gets_one_instance() {
    check(&[
        ("file a.so 1; start", ""),
        ("file a.so 1; start autoload", "try load a (folder)"),
        ("file a.so 1; file b.so 1 c; start autoload", "try load a (folder); try load c (folder)"),
        ("file a.so 1; start autoload; look", "sound a.so"),
        ("start autoload; file a.so 1; look", "try load a (folder)"),
        ("start; file a.so 1; look", ""),
        ("file a.so 1; start; configure autoload", "try load a (folder)"),
        ("file a.so 1; start autoload; configure", "unload a"),
        ("file a.so 1; start autoload; configure autoload dir=/q", "unload a"),
        ("file /q/b.so 1; start autoload; configure autoload dir=/p dir=/q", "try load b (folder)"),
        ("file a.so 1; start autoload; file b.so 1; configure autoload", "try load b (folder)"),
        ("bad-file a.so 1; start autoload", "refuse a.so"),
        ("bad-file a.so 1; start autoload; file a.so 2; look", "try load a (folder)"),
        ("fails a.so; file a.so 1; start autoload; look", ""),
        ("fails a.so; file a.so 1; start autoload; configure autoload", ""),
        ("fails a.so; file a.so 1; start autoload; touch a.so; look", "try load a (folder)"),
        (
            "fails a.so; file a.so 1; start autoload; remove a.so; look; file a.so 1; look",
            "try load a (folder)",
        ),
    ]);
}

#[test]
fn d8_two_libraries_of_one_plugin_are_refused() {
    check(&[
        ("file a.so 1; file b.so 1 a; start autoload", "refuse a.so; refuse b.so"),
        ("file a.so 1; file b.so 1 a; start autoload; remove b.so; look", "try load a (folder)"),
        ("file a.so 1; start autoload; file b.so 1 a; look", "refuse b.so; sound a.so"),
        ("file a.so 1; file b.so 1 a; start a=a.so autoload", "load a; refuse b.so"),
        ("file a.so 1; bad-file b.so 1; start autoload", "try load a (folder); refuse b.so"),
    ]);
}

#[test]
fn d8_an_autoloaded_instance_gives_way_to_the_configuration() {
    check(&[
        ("file a.so 1; start a=a.so autoload", "load a"),
        ("file a.so 1; start a autoload", "load a"),
        ("file a.so 1; start x=a autoload", "load x"),
        ("file a.so 1; start a=a.so:off autoload", ""),
        ("file a.so 1; start x=a:off autoload", ""),
        ("file a.so 1; start autoload; configure x=a.so autoload", "unload a; load x"),
        ("file a.so 1; start autoload; configure x=a autoload", "unload a; load x"),
        ("file a.so 1; start autoload; configure a=x autoload", "unload a; load a; try load a (folder)"),
        ("file a.so 1; start autoload; configure a=a.so:off autoload", "unload a"),
        ("file a.so 1; start autoload; configure b autoload", "load b"),
        ("file a.so 1; start a=a.so autoload; configure autoload", "unload a; try load a (folder)"),
        ("file a.so 1; start a=a.so autoload; operator unload a; look", ""),
        ("file a.so 1; start a=a.so autoload; operator unload a; file a.so 2; look", ""),
        ("file a.so 1; start a=a.so autoload; operator unload a; configure autoload", ""),
    ]);
}

#[test]
fn d8_a_library_that_another_instance_uses_is_not_autoloaded() {
    check(&[
        ("start autoload; embedder load e=a; file a.so 1; look", "try load a (folder)"),
        ("file a.so 1; start; operator load y=a.so; configure autoload", ""),
        ("file a.so 1; start; embedder load y=a.so; configure autoload", ""),
        ("file a.so 1; start; operator load y=a.so, disable y; configure autoload", ""),
        ("file a.so 1; start autoload; operator load y=a.so", "load y (operator)"),
        ("start autoload; operator load a=x; file a.so 1; look", "try load a (folder)"),
    ]);
}

#[test]
fn d6_an_autoloaded_instance_goes_with_its_file() {
    check(&[
        ("file a.so 1; start autoload; remove a.so; look", "unload a"),
        ("file a.so 1; start autoload; remove a.so; configure autoload", "unload a"),
        ("file a.so 1; start autoload; operator disable a; remove a.so; look", "unload a"),
        ("file a.so 1; start autoload; operator load y=a.so; remove a.so; look", "unload a"),
        ("file a.so 1; start autoload; remove a.so; look; file a.so 1; look", "try load a (folder)"),
        ("file a.so 1; start autoload; remove a.so; file b.so 1 a; look", "unload a; try load a (folder)"),
    ]);
}

#[test]
fn d6_an_autoloaded_instance_that_fails_closed_outlives_its_file() {
    check(&[
        ("file a.so 1 a!; start autoload; remove a.so; look", ""),
        ("file a.so 1 a!; start autoload; remove a.so; configure autoload", ""),
        ("file a.so 1; start autoload; operator set a on_error=fail; remove a.so; look", ""),
        ("file a.so 1; start autoload propagate; remove a.so; look", ""),
        ("file a.so 1 a!; start autoload; operator set a on_error=continue; remove a.so; look", "unload a"),
        ("file a.so 1 a!; start autoload; operator disable a; remove a.so; look", ""),
        ("file a.so 1 a!; start autoload; remove a.so; configure", "unload a"),
        ("file a.so 1 a!; start autoload; remove a.so; configure autoload dir=/q", "unload a"),
        ("file a.so 1 a!; start autoload; remove a.so; look; file a.so 1 a!; look", "sound a.so"),
        ("file a.so 1 a!; start autoload; remove a.so; look; file a.so 2 a!; look", "try reload a"),
        (
            "file a.so 1 a!; start autoload; remove a.so; file b.so 2 a!; look",
            "try load a (folder) in place of a",
        ),
        ("file a.so 1 a!; start autoload; remove a.so; file b.so 2 a!; look; look", "sound b.so"),
        (
            "file a.so 1 a!; start autoload; remove a.so; fails b.so; file b.so 2 a!; look; file a.so 1 a!; look",
            "refuse b.so; sound a.so",
        ),
        ("file a.so 1 a!; start autoload; remove a.so; bad-file b.so 2 a!; look", "refuse b.so"),
    ]);
}

#[test]
fn d6_other_bytes_reload_an_autoloaded_instance() {
    check(&[
        ("file a.so 1; start autoload; touch a.so; look", "sound a.so"),
        ("file a.so 1; start autoload; file a.so 2; look", "try reload a"),
        ("file a.so 1; start autoload; file a.so 2; configure autoload", ""),
        ("file a.so 1; start autoload; file a.so 2 b; look", "try reload a"),
        ("file a.so 1; start autoload; bad-file a.so 2; look", "refuse a.so used by a"),
        ("file a.so 1; start autoload; bad-file a.so 2; configure autoload", ""),
        ("file a.so 1; start autoload; fails a.so; file a.so 2; look; look", ""),
        ("file a.so 1; start autoload; operator disable a; file a.so 2; look", "try reload a"),
    ]);
}

#[test]
fn d9_a_library_that_an_operator_unloaded_stays_out_until_its_bytes_change() {
    check(&[
        ("file a.so 1; start autoload; operator unload a", "unload a"),
        ("file a.so 1; start autoload; operator unload a; look", ""),
        ("file a.so 1; start autoload; operator unload a; touch a.so; look", ""),
        ("file a.so 1; start autoload; operator unload a; configure autoload", ""),
        ("file a.so 1; start autoload; operator unload a; configure; configure autoload", ""),
        (
            "file a.so 1; start autoload; operator unload a; file a.so 2; look",
            "try load a (folder) (undone a: unloaded)",
        ),
        (
            "file a.so 1; start autoload; operator unload a; file a.so 2; configure autoload",
            "try load a (folder) (undone a: unloaded)",
        ),
        ("file a.so 1; start autoload; operator unload a; bad-file a.so 2; look", "refuse a.so"),
        ("file a.so 1; start autoload; operator unload a; bad-file a.so 2; look; file a.so 1; look", ""),
        ("file a.so 1; start autoload; operator unload a; remove a.so; look; file a.so 1; look", ""),
        ("file a.so 1; start autoload; operator unload a; configure autoload dir=/q; configure autoload", ""),
        (
            "file a.so 1; start autoload; operator unload a; fails a.so; file a.so 2; look; file a.so 1; look",
            "",
        ),
        ("file a.so 1; start autoload; operator unload a; operator load y=a.so; operator unload y; look", ""),
        ("file a.so 1; start; operator load y=a.so; operator unload y; configure autoload", ""),
        ("file a.so 1; start autoload; operator unload a; configure x=a.so autoload", "load x"),
        (
            "file a.so 1; start autoload; operator unload a; configure x=a.so autoload; configure autoload",
            "unload x; try load a (folder)",
        ),
    ]);
}

#[test]
fn d9_settings_of_an_autoloaded_instance_last_through_a_reload() {
    check(&[
        ("file a.so 1; start autoload; operator set a prio=5; configure autoload", ""),
        ("file a.so 1; start autoload; operator disable a; configure autoload", ""),
        ("file a.so 1; start autoload; operator disable a; look", "sound a.so"),
        ("file a.so 1; start autoload; operator disable a; operator enable a", "enable a"),
        ("file a.so 1; start autoload; operator set a prio=5; operator set a prio=-", "set a prio=-"),
        (
            "file a.so 1; start autoload; operator set a prio=5; configure a=a.so autoload",
            "unload a; load a; undone a: set priority",
        ),
    ]);
}
