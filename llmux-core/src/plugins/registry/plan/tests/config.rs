//! Plans of instances that the configuration names.

use super::check;

#[test]
fn d9_a_start_makes_what_the_configuration_names() {
    check(&[
        ("start", ""),
        ("start a", "load a"),
        ("file a.so 1; start a=a.so b=a.so:prio=5 c:config=1", "load a; load b:prio=5; load c:config=1"),
        ("start a a2=a:off", "load a"),
        ("start a:off", ""),
        ("file a.so 1; start a=a.so:off", ""),
    ]);
}

#[test]
fn d9_a_reload_changes_what_the_file_says_otherwise() {
    check(&[
        ("start a b; configure a b", ""),
        ("start a; configure a b", "load b"),
        ("start a b; configure b", "unload a"),
        ("start a b; configure", "unload a; unload b"),
        ("start a b c; configure b:prio=1 d", "unload a; unload c; set b prio=1; load d"),
        ("start a; configure a:prio=5", "set a prio=5"),
        ("start a:prio=5; configure a", "set a prio=-"),
        ("start a; configure a:config=1", "set a config=1"),
        ("start a:config=1; configure a:config=2:prio=3", "set a prio=3 config=2"),
        ("start a:config=1; configure a", "set a config=-"),
        ("start a; configure a:off", "disable a"),
        ("start a; configure a:off; configure a:off", ""),
        ("start a; configure a:off; configure a", "enable a"),
        ("start a; configure a:off; configure a:prio=5", "set a prio=5; enable a"),
        ("start a; configure a:off; configure", "unload a"),
        ("start a:off; configure a", "load a"),
        ("start a:off; configure a:off:prio=5", ""),
        ("start a=b; configure a=c", "unload a; load a"),
        ("start a=b; configure a=c:off", "unload a"),
        ("start a; configure b=a", "unload a; load b"),
        ("start a=x b=y; configure a=y b=x", "unload a; unload b; load a; load b"),
        ("file a.so 1; file b.so 1; start a=a.so; configure a=b.so", "unload a; load a"),
        ("file a.so 1; start a=a.so; configure a", "unload a; load a"),
        ("file a.so 1; start a=a.so; configure a=a.so:sha=1", "unload a; load a"),
        ("file a.so 1; start a=a.so:sha=ab; configure a=a.so:sha=AB", ""),
        ("start a; configure a:isolated:prio=5", "isolate a isolation=process memory=-; set a prio=5"),
        ("start a:isolated:memory=5; configure a:isolated:memory=6", "isolate a isolation=process memory=6"),
        ("start a:isolated:memory=5; configure a", "isolate a isolation=- memory=-"),
        ("start a:isolated:memory=5; configure a:memory=5:isolated", ""),
    ]);
}

#[test]
fn d9_a_reload_of_the_same_file_undoes_each_change_of_an_operator() {
    check(&[
        ("start a; operator unload a; configure a", "load a; undone a: unloaded"),
        (
            "start a b; operator unload a, disable b; configure a b",
            "enable b; load a; undone a: unloaded; undone b: disabled",
        ),
        ("start a; operator disable a; configure a", "enable a; undone a: disabled"),
        ("start a; configure a:off; operator enable a; configure a:off", "disable a; undone a: enabled"),
        ("start a:off; operator load a; configure a:off", "disable a; undone a: enabled"),
        ("start a:prio=1; operator set a prio=5; configure a:prio=1", "set a prio=1; undone a: set priority"),
        ("start a; operator set a prio=5; configure a", "set a prio=-; undone a: set priority"),
        (
            "start a; operator isolate a isolation=process memory=5; configure a",
            "isolate a isolation=- memory=-; undone a: set isolation memory",
        ),
        ("start a:isolated; operator isolate a isolation=process; configure a:isolated", ""),
        ("start a:prio=1; operator set a prio=-; configure a:prio=1", "set a prio=1; undone a: set priority"),
        ("start a; operator set a on_error=fail; configure a", "set a on_error=-; undone a: set on_error"),
        (
            "start a:config=1; operator set a config=2; configure a:config=1",
            "set a config=1; undone a: set config",
        ),
        (
            "start a; operator set a prio=1 on_error=fail config=1; configure a",
            "set a prio=- on_error=- config=-; undone a: set priority on_error config",
        ),
        (
            "start a; operator set a prio=5, disable a; configure a",
            "set a prio=-; enable a; undone a: disabled; undone a: set priority",
        ),
        ("start a; operator unload a; operator load a; configure a", ""),
        (
            "start a; operator unload a; operator load a:prio=5; configure a",
            "set a prio=-; undone a: set priority",
        ),
        ("start a; operator disable a; operator enable a; configure a", ""),
        ("start a; operator set a prio=5; operator set a prio=-; configure a", ""),
        ("start a; operator unload a; configure a; configure a", ""),
        ("start a; operator disable a; configure a; configure a", ""),
        ("start a; operator reload a; configure a", ""),
        ("file a.so 1; start a=a.so; file a.so 2; operator reload a; configure a=a.so", ""),
    ]);
}

#[test]
fn d9_a_reload_of_another_file_reports_only_what_it_reverts() {
    check(&[
        ("start a; operator unload a; configure a b", "load a; load b; undone a: unloaded"),
        ("start a; operator unload a; configure a:off", ""),
        ("start a; operator unload a; configure b", "load b"),
        ("start a; operator unload a; configure b; configure a b", "load a"),
        ("start a; operator unload a; configure a=c", "load a; undone a: unloaded"),
        ("start a; operator disable a; configure a:off", ""),
        ("start a; operator disable a; configure", "unload a"),
        ("start a; operator disable a; configure a=c", "unload a; load a; undone a: disabled"),
        ("start a; operator disable a; configure a:prio=2", "set a prio=2; enable a; undone a: disabled"),
        ("start a; operator set a prio=5; configure a:prio=5", ""),
        ("start a; operator set a prio=5; configure a:prio=6", "set a prio=6; undone a: set priority"),
        (
            "start a; operator set a prio=5; configure a:off",
            "set a prio=-; disable a; undone a: set priority",
        ),
        ("start a:off; operator load a; configure a", ""),
    ]);
}

#[test]
fn d6_a_configured_instance_outlives_its_file() {
    check(&[
        ("file a.so 1; start a=a.so; remove a.so; look", ""),
        ("file a.so 1; start a=a.so; remove a.so; configure a=a.so", ""),
        ("file a.so 1; start a=a.so; remove a.so; configure a=a.so:prio=5", "set a prio=5"),
        ("file a.so 1; start a=a.so autoload; remove a.so; look", ""),
        ("file a.so 1; start a=a.so; remove a.so; operator disable a", "disable a"),
        ("file a.so 1; start a=a.so; remove a.so; look; file a.so 1; look", "sound a.so"),
        ("file a.so 1; start a=a.so; remove a.so; look; file a.so 2; look", "try reload a"),
    ]);
}

#[test]
fn d6_other_bytes_reload_a_configured_instance() {
    check(&[
        ("file a.so 1; start a=a.so; look", "sound a.so"),
        ("file a.so 1; start a=a.so; touch a.so; look", "sound a.so"),
        ("file a.so 1; start a=a.so; file a.so 2; look", "try reload a"),
        ("file a.so 1; start a=a.so; file a.so 2; look; look", "sound a.so"),
        ("file a.so 1; start a=a.so b=a.so; file a.so 2; look", "try reload a"),
        ("file a.so 1; start a; file a.so 2; look", "try reload a"),
        ("file a.so 1; start a=a.so; file a.so 2; configure a=a.so", ""),
        ("file a.so 1; start a=a.so; operator disable a; file a.so 2; look", "try reload a"),
        ("file a.so 1; start a=a.so; bad-file a.so 2; look", "refuse a.so used by a"),
        ("file a.so 1; start a=a.so; bad-file a.so 2; look; file a.so 1; look", "sound a.so"),
        ("file a.so 1; start a=a.so; fails a.so; file a.so 2; look; look", ""),
        ("file a.so 1; start a=a.so; fails a.so; file a.so 2; look; touch a.so; look", "try reload a"),
        ("file a.so 1; start a=a.so; fails a.so; file a.so 2; look; file a.so 3; look", "try reload a"),
        ("file a.so 1; start a=a.so; operator unload a; file a.so 2; look", ""),
        ("file a.so 1; start a=a.so; operator unload a; touch a.so; look", ""),
    ]);
}
