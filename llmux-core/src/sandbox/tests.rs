//! Policies other than the one of a trial, each in a thread of its own: all parts except the limits hold for one thread.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
};

use landlock::ABI;
use tempfile::TempDir;

use super::*;

/// Runs a function in a new thread with this policy, and returns its result and the report.
fn within<T: Send + 'static>(
    policy: Policy,
    landlock: ABI,
    run: impl FnOnce() -> T + Send + 'static,
) -> (T, Report) {
    let thread = std::thread::spawn(move || {
        let mut report = Report::default();
        policy.restrict_thread(landlock, &mut report);
        (run(), report)
    });
    thread.join().expect("no panic")
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "text").expect("written");
    folder
}

#[test]
fn i8_a_kernel_without_landlock_or_with_an_early_version_is_reported() {
    let folder = folder();
    let file = folder.path().join("file");
    let (_, here) = within(Policy::default(), files::TESTED, || ());
    for (version, is_readable, expected) in [
        (
            ABI::Unsupported,
            true,
            &[Part::Files, Part::Truncation, Part::Tcp, Part::Devices, Part::Scopes][..],
        ),
        (ABI::V1, false, &[Part::Truncation, Part::Tcp, Part::Devices, Part::Scopes]),
        (ABI::V3, false, &[Part::Tcp, Part::Devices, Part::Scopes]),
        (ABI::V5, false, &[Part::Scopes]),
        (ABI::V6, false, &[]),
    ] {
        let read = file.clone();
        let (opened, report) = within(Policy::default(), version, move || File::open(read).is_ok());
        // This kernel may lack more.
        let lacks = |part: &Part| here.missing.iter().any(|it| it.part == *part);
        let missing: Vec<_> = report
            .missing
            .iter()
            .map(|it| it.part)
            .filter(|it| expected.contains(it) || !lacks(it))
            .collect();
        assert_eq!((opened, &missing[..]), (is_readable, expected), "{version}: {report:?}");
        assert!(report.applied.contains(&Part::SystemCalls), "the other parts are applied: {report:?}");
        let text = report.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(
            text.contains(
                "this plugin can read the host's memory and environment (the kernel has no Landlock"
            ),
            is_readable,
            "{text}"
        );
    }
}

#[test]
fn a_process_with_several_threads_is_reported() {
    let (_, waits) = std::sync::mpsc::channel::<()>();
    let _second = std::thread::spawn(move || waits.recv());
    let why = process::has_one_thread().expect_err("the harness has several");
    assert!(why.starts_with("the process has "), "{why}");
}

#[test]
fn read_and_write_open_the_paths_that_they_list_and_no_others() {
    let (read, write, other) = (folder(), folder(), folder());
    let policy = Policy {
        read: vec![read.path().to_owned(), "/nowhere".into()],
        write: vec![write.path().to_owned()],
        ..Policy::default()
    };
    let paths = [read.path().to_owned(), write.path().to_owned(), other.path().to_owned()];
    let (can, report) = within(policy, files::TESTED, move || {
        let can = |path: &Path| {
            (
                fs::read(path.join("file")).is_ok(),
                fs::write(path.join("new"), "text").is_ok(),
                fs::remove_file(path.join("file")).is_ok(),
            )
        };
        paths.map(|path| can(&path))
    });
    assert_eq!(can, [(true, false, false), (true, true, true), (false, false, false)], "{report:?}");
}

#[test]
fn network_permits_ip_and_no_other_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let unix = "/nowhere/socket";
    let connect = move || (TcpStream::connect(address).map(drop), UnixStream::connect(unix).map(drop));
    let policy = Policy { network: true, ..Policy::default() };
    let ((tcp, local), report) = within(policy, files::TESTED, connect);
    assert!(tcp.is_ok(), "{tcp:?}");
    assert_eq!(local.expect_err("refused").raw_os_error(), Some(libc::EPERM));
    assert!(!report.applied.contains(&Part::Tcp), "{report:?}");
    let ((tcp, _), _) = within(Policy::default(), files::TESTED, connect);
    assert_eq!(tcp.expect_err("refused").raw_os_error(), Some(libc::EPERM));
}

#[test]
fn processes_permits_to_run_the_programs_that_read_lists() {
    let run = || Command::new("/bin/true").status().is_ok_and(|status| status.success());
    let read = vec!["/usr/bin".into(), "/bin".into()];
    let allowed = Policy { read: read.clone(), processes: true, ..Policy::default() };
    assert!(within(allowed, files::TESTED, run).0);
    assert!(
        !within(Policy { processes: true, ..Policy::default() }, files::TESTED, run).0,
        "it is not listed"
    );
    assert!(!within(Policy { read, ..Policy::default() }, files::TESTED, run).0, "without `processes`");
}

#[test]
fn a_child_gets_the_variables_of_the_loader_and_those_that_are_named() {
    let all: Vec<_> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    let named =
        all.iter().find(|name| !policy::OF_THE_LOADER.contains(&name.as_str())).expect("cargo sets some");
    let names = |env: Vec<String>| {
        Policy { env, ..Policy::default() }.variables().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert!(names(Vec::new()).iter().all(|name| policy::OF_THE_LOADER.contains(&name.as_str())));
    assert!(names(vec![named.clone(), "LLMUX_IS_NOT_SET".into()]).ends_with(std::slice::from_ref(named)));
}
