//! The sandbox of a trial load: a library whose initializer tries to leave it, in the child process that a server would
//! start, as this user and as one without rights.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::PathBuf,
    process::{Command, Output},
};

use llmux_testing::program::{llmux, program};
use llmux_tests::{
    Fixtures,
    c_libraries::{answers, c_library, link},
};
use tempfile::TempDir;

/// A user without rights (`nobody`).
const NOBODY: u32 = 65534;
const EPERM: &str = "1";
const EACCES: &str = "13";
const ENOSYS: &str = "38";

/// Attempts that Landlock refuses. All others are refused by the filter of system calls.
const OF_FILES: [&str; 10] = [
    "read passwd",
    "read a file",
    "read the file of another user",
    "list a folder",
    "read the host's environment",
    "read the host's memory",
    "write a file",
    "create a file",
    "make a folder",
    "remove a file",
];

/// Attempts that the filter answers as a kernel without these calls would.
const UNKNOWN: [&str; 3] = ["clone3", "open by x32", "a call that is newer than the filter"];

/// The world of the intruder: a folder of its user, with a file that another user owns, and two servers.
struct World {
    root: TempDir,
    copy: PathBuf,
    tcp: TcpListener,
    _unix: UnixListener,
    user: Option<u32>,
}

impl World {
    /// Makes the world for this user; `None` for the user of the test.
    fn new(user: Option<u32>) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("folder");
        fs::create_dir(&folder).expect("a folder");
        for file in ["mine", "theirs", "waste"] {
            fs::write(folder.join(file), "secret").expect("written");
        }
        let _unix = UnixListener::bind(folder.join("socket")).expect("a socket");
        let copy = root.path().join("libintruder.so");
        fs::copy(Fixtures::get().intruder(), &copy).expect("copied");
        // Other users cannot reach the folder of the build. This process must never hold the copy open for writing: a program
        // that another test starts meanwhile would inherit it, and the system runs no file that is open for writing.
        let copied =
            Command::new("cp").args([program(), &root.path().join("llmux")]).status().expect("cp runs");
        assert!(copied.success());
        for path in [root.path(), &folder.join("socket")] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("set");
        }
        let world = Self { tcp: TcpListener::bind("127.0.0.1:0").expect("a port"), root, copy, _unix, user };
        if let Some(user) = user {
            for path in [&world.copy, &folder, &folder.join("mine"), &folder.join("waste")] {
                chown(path, Some(user), Some(user)).expect("changed");
            }
        }
        world
    }

    /// Runs a program with the variables of the intruder, and returns its attempts with their outcomes.
    fn attempts(&self, mut command: Command) -> (BTreeMap<String, String>, Output) {
        if let Some(user) = self.user {
            use std::os::unix::process::CommandExt;
            command.uid(user).gid(user);
        }
        command.env("INTRUDER_FOLDER", self.root.path().join("folder")).env("INTRUDER_COPY", &self.copy);
        command.env("INTRUDER_PORT", self.tcp.local_addr().expect("an address").port().to_string());
        let output = command.current_dir("/").output().expect("it runs");
        let lines = String::from_utf8_lossy(&output.stderr).into_owned();
        let attempts = lines.lines().filter_map(|line| line.rsplit_once(": "));
        (attempts.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect(), output)
    }

    fn trial(&self) -> Command {
        let mut command = Command::new(self.root.path().join("llmux"));
        command.env_clear().arg("trial-load").arg(&self.copy);
        command
    }
}

/// Checks that every attempt of the intruder is refused, and that what a library needs is allowed.
fn is_contained(user: Option<u32>) {
    let world = World::new(user);
    let (attempts, output) = world.attempts(world.trial());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains(r#""outcome":"passed""#), "{output:?}");
    assert!(attempts.len() > 80, "the initializer ran to its end: {attempts:?}");
    for (name, outcome) in &attempts {
        let expected = match name.as_str() {
            name if name.starts_with("allowed: ") => "done",
            name if UNKNOWN.contains(&name) => ENOSYS,
            name if OF_FILES.contains(&name) => EACCES,
            _ => EPERM,
        };
        let is_expected =
            outcome == expected || (name == "link a file" && [EACCES, EPERM].contains(&outcome.as_str()));
        assert!(is_expected, "{name}: {outcome}, and not {expected}");
    }
    let left: Vec<_> = fs::read_dir(world.root.path().join("folder")).expect("there").collect();
    assert_eq!(left.len(), 4, "nothing was created or removed: {left:?}");
    assert_eq!(fs::read(world.root.path().join("folder/mine")).expect("there"), b"secret");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("there").uid() == 0
}

#[test]
fn i8_a_library_on_trial_reads_no_file_starts_no_process_and_opens_no_socket() {
    is_contained(None);
}

#[test]
fn i8_the_sandbox_of_a_trial_holds_for_a_user_without_rights() {
    // Only root can become another user. A user without rights has run the test above.
    if is_root() {
        is_contained(Some(NOBODY));
    }
}

/// Attempts that the system refuses to a user without rights, with or without a sandbox.
const OF_ROOT: [&str; 5] = ["pivot_root", "fsopen", "bpf", "userfaultfd", "open_by_handle_at"];

/// Attempts at the parent, which the system refuses if the parent belongs to another user.
const AT_THE_PARENT: [&str; 6] =
    ["kill", "tkill", "tgkill", "prlimit64", "read the host's environment", "read the host's memory"];

/// Without a sandbox, the attempts succeed, or fail for another reason. Otherwise the tests above would prove nothing.
#[test]
fn without_a_sandbox_the_same_library_does_what_it_likes() {
    // In a container, the runtime of the container may refuse the same calls.
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let is_filtered = !status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('0'));
    for user in [None, is_root().then_some(NOBODY)] {
        let world = World::new(user);
        let (sandboxed, _) = world.attempts(world.trial());
        let mut command = Command::new("/bin/true");
        command.env_clear().env("LD_PRELOAD", &world.copy);
        let (free, output) = world.attempts(command);
        assert!(output.status.success(), "{output:?}");
        let is_users = user.is_some() || !is_root();
        let same: Vec<_> = sandboxed
            .iter()
            .filter(|(name, outcome)| free.get(*name) == Some(outcome) && *outcome != "done")
            // This kernel may know neither of these calls.
            .filter(|(_, outcome)| *outcome != ENOSYS)
            .filter(|(name, _)| !(is_users && OF_ROOT.contains(&name.as_str())))
            .filter(|(name, _)| !(user.is_some() && AT_THE_PARENT.contains(&name.as_str())))
            .collect();
        assert!(same.is_empty() || is_filtered, "{user:?}: {same:?}");
    }
}

/// A trial loads each library that the plugin needs, from the folders in which the host found it.
#[cfg(target_env = "gnu")]
#[tokio::test]
async fn i8_the_sandbox_lets_the_loader_read_libraries_beside_the_plugin_and_elsewhere() {
    let (root, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let folder = elsewhere.path().to_str().expect("text");
    c_library(elsewhere.path(), "libllmuxfar.so.1", "int llmux_far(void) { return 1; }", &[]);
    let far = format!("{folder}/libllmuxfar.so.1");
    let beside = c_library(
        &root.path().join("lib"),
        "libllmuxnear.so.1",
        &answers(1),
        &["-Wl,--no-as-needed", &far, &format!("-Wl,-rpath,{folder}")],
    );
    let beside = beside.to_str().expect("text");
    let plugin = link(
        &root.path().join("libp.so"),
        &[beside, "-Wl,-rpath,$ORIGIN/lib", "-Wl,--allow-shlib-undefined"],
    );
    let verify = ["plugin", "verify", "--trial", plugin.to_str().expect("text")];
    let output = llmux(root.path()).args(verify).output().await.expect("llmux runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("loading      passed"), "{said}");
}
