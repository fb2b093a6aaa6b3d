//! Plans of changes by operators and by the program that embeds the host.

use super::check;

#[test]
fn d9_an_instance_that_only_an_operator_loaded_stays() {
    check(&[
        ("start a; operator load x", "load x (operator)"),
        ("start a; operator load x; configure a", ""),
        ("start a; operator load x; configure", "unload a"),
        ("start a; operator load x, set x prio=5; configure a", ""),
        ("start a; operator load x; operator disable x; configure a", ""),
        ("start a; operator load x; operator unload x; configure a", ""),
        ("start a; operator load y=a; configure a", ""),
        ("start a; embedder load x; configure a", ""),
        ("start a; embedder load x; configure", "unload a"),
        ("file a.so 1; start; operator load x=a.so; remove a.so; look", ""),
        ("file a.so 1; start; operator load x=a.so; file a.so 2; look", "try reload x"),
        ("file a.so 1; start; operator load ?=a.so; configure", ""),
        ("file a.so 1; start autoload; operator load x=a.so; configure", "unload a"),
    ]);
}

#[test]
fn d9_an_operators_instance_gives_way_to_a_configured_one_of_its_name() {
    check(&[
        ("start; operator load a=x; configure a", "unload a; load a; undone a: replaced"),
        ("start; operator load a; configure a", "unload a; load a; undone a: replaced"),
        ("file a.so 1; start; operator load ?=a.so; configure a", "unload a; load a; undone a: replaced"),
        ("start; operator load x=a; configure a", "load a"),
        (
            "start a; operator unload a; operator load a=x; configure a",
            "unload a; load a; undone a: replaced",
        ),
        ("start a; operator unload a, load a=x", "unload a; load a (operator)"),
        ("start a; operator unload a; operator load a=x; configure", ""),
        ("start a; operator unload a; operator load a=x; configure a; configure a", ""),
        (
            "start a; operator unload a; operator load a=x; operator unload a; configure a",
            "load a; undone a: unloaded",
        ),
        ("start a:off; operator load a=x", "load a (operator)"),
        ("start a:off; operator load a=x; configure a:off", ""),
        ("start a:off; operator load a=x; configure a", "unload a; load a; undone a: replaced"),
        ("start; operator load a=x; configure a:off", ""),
    ]);
}

#[test]
fn d9_a_load_brings_a_configured_instance_back() {
    check(&[
        ("start a:prio=5; operator unload a; operator load a", "load a:prio=5"),
        ("start a:prio=5:config=1; operator unload a; operator load a:prio=6", "load a:prio=6:config=1"),
        ("start a:prio=5; operator set a prio=7; operator unload a; operator load a", "load a:prio=5"),
        ("file a.so 1; start a=a.so; operator unload a; operator load a", "load a"),
        ("file a.so 1; start a=a.so; operator unload a; operator load a=a.so", "load a"),
        (
            "file a.so 1; file b.so 1; start a=a.so; operator unload a; operator load a=b.so",
            "load a (operator)",
        ),
        ("file a.so 1; start a=a.so; operator unload a; operator load a=a.so:sha=2", "load a (operator)"),
        ("start x=a:prio=5; operator unload x; operator load x", "load x:prio=5"),
        ("start x=a:prio=5; operator unload x; operator load x=a", "load x:prio=5"),
        ("start a:off:prio=5; operator load a", "load a:prio=5"),
        ("start a; operator unload a, load a", "unload a; load a"),
    ]);
}

#[test]
fn d7_an_operator_switches_and_sets_one_instance() {
    check(&[
        ("start a b; operator unload a", "unload a"),
        ("start a b; operator disable a", "disable a"),
        ("start a; operator disable a; operator disable a", ""),
        ("start a; operator enable a", ""),
        ("start a; operator disable a; operator enable a", "enable a"),
        ("start a; operator disable a; operator set a prio=5", "set a prio=5"),
        ("start a; operator set a prio=5; operator disable a", "disable a"),
        ("start a; operator set a config=1", "set a config=1"),
        ("start a:config=1; operator set a config=1", "set a config=1"),
        ("start a; operator set a prio=5 config=1; operator set a prio=6", "set a prio=6"),
        ("start; operator load x; operator disable x", "disable x"),
        ("start; operator load x; operator disable x; operator enable x", "enable x"),
        ("start; operator load x; operator set x config=-", "set x config=-"),
        ("start; operator load x:prio=5; operator set x prio=-", "set x prio=-"),
        ("start; embedder load x; operator set x prio=5", "set x prio=5"),
        ("start; embedder load x; operator unload x", "unload x"),
        ("start a; operator disable a; operator unload a", "unload a"),
    ]);
}

#[test]
fn d4_an_operator_reloads_a_library_once() {
    check(&[
        ("file a.so 1; start a=a.so b=a.so; operator reload a", "reload a"),
        ("file a.so 1; start a=a.so b=a.so; operator reload a, reload b", "reload a"),
        ("file a.so 1; start a=a.so; operator reload a, set a prio=5", "reload a; set a prio=5"),
        ("file a.so 1; start a=a.so; operator reload a, unload a", "unload a"),
        ("file a.so 1; start a=a.so; operator reload a; operator disable a", "disable a"),
        ("file a.so 1; start autoload; operator reload a", "reload a"),
        ("file a.so 1; start; operator load x=a.so; operator reload x", "reload x"),
        ("file a.so 1; file b.so 1; start a=a.so b=b.so; operator reload b, reload a", "reload a; reload b"),
        ("start a; operator reload a", "error: NotALibrary"),
        ("start a; operator reload b", "error: PluginNotFound"),
    ]);
}

#[test]
fn d3_each_change_of_a_batch_sees_those_before_it() {
    check(&[
        ("start a; operator load a", "error: DuplicatePlugin"),
        ("start a; operator load a=x", "error: DuplicatePlugin"),
        ("start a; operator disable a; operator load a", "error: DuplicatePlugin"),
        ("file a.so 1; start autoload; operator load a", "error: DuplicatePlugin"),
        ("start a; operator load ..", "error: InvalidName"),
        ("start a; operator load x, load x", "error: DuplicatePlugin"),
        ("start a; operator unload a, disable a", "error: PluginNotFound"),
        ("start a; operator unload a; operator enable a", "error: PluginNotFound"),
        ("start a:off; operator enable a", "error: PluginNotFound"),
        ("start; operator load x, disable x", "load x (operator); disable x"),
        ("start; operator load x, disable x; operator enable x", "enable x"),
        ("start a; operator unload a, load a, disable a", "unload a; load a; disable a"),
        ("start; operator load x, unload x", ""),
        ("max 1; start a; operator load x", "error: TooManyPlugins"),
        ("max 1; start a; operator unload a, load x", "unload a; load x (operator)"),
        ("start a; operator unload a, unload b; operator unload a", "unload a"),
    ]);
}

#[test]
fn d8_an_operator_unloads_one_of_two_instances_of_a_library() {
    check(&[
        ("file a.so 1; start autoload; operator load y=a.so; operator unload y", "unload y"),
        ("file a.so 1; start autoload; operator load y=a.so; operator unload y; look", "sound a.so"),
        ("file a.so 1; start autoload; operator load y=a.so; operator unload a", "unload a"),
        ("file a.so 1; start autoload; operator load y=a.so; operator unload a; look", "sound a.so"),
        ("file a.so 1; start autoload; operator load y=a.so; operator unload a; operator unload y; look", ""),
        ("file a.so 1; start autoload; operator unload a, load a=a.so", "unload a; load a (operator)"),
    ]);
}

#[test]
fn i5_an_operator_moves_an_instance_of_any_origin() {
    check(&[
        ("start a; operator isolate a isolation=process", "isolate a isolation=process memory=-"),
        ("start a:isolated:memory=5; operator isolate a memory=6", "isolate a isolation=process memory=6"),
        ("start a:isolated:memory=5; operator isolate a memory=-", "isolate a isolation=process memory=-"),
        ("start a:isolated; operator isolate a isolation=process", ""),
        (
            "start a; operator isolate a isolation=process, set a prio=1",
            "isolate a isolation=process memory=-; set a prio=1",
        ),
        (
            "start; operator load x; operator isolate x isolation=process; operator isolate x memory=5",
            "isolate x isolation=process memory=5",
        ),
        (
            "file a.so 1; start autoload; operator isolate a isolation=process",
            "isolate a isolation=process memory=-",
        ),
        (
            "start a; operator isolate a isolation=process; operator unload a; operator load a:memory=5",
            "load a:memory=5",
        ),
        (
            "start a:isolated; operator disable a; operator isolate a memory=5",
            "isolate a isolation=process memory=5",
        ),
    ]);
}
