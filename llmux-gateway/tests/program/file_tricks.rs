//! File operations on a watched folder: symlinks that are exchanged, folders that are deleted, hard links, slow
//! writers, wrong clocks, and missing events.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    folders::is_active,
    support::{LONG, Server, answered_by, drop_in, edition, http, read, serve, until},
};

async fn watching(folder: &Path) -> Server {
    Server::with("", &["--plugin-dir", &folder.to_string_lossy()]).await
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A mounted ConfigMap: the files are symlinks through `..data`, which one step exchanges for another.
#[tokio::test]
async fn a_link_to_a_folder_of_versions_that_is_flipped_brings_the_other_version() {
    let root = folder();
    let version = |name: &str, which: &str| {
        let version = root.path().join(name);
        fs::create_dir(&version).expect("made");
        drop_in(&version, "libedition", &edition(which));
        symlink(name, root.path().join("..data_tmp")).expect("linked");
        fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).expect("flipped");
    };
    version("..1", "one");
    symlink("..data/libedition.so", root.path().join("libedition.so")).expect("linked");
    let server = watching(root.path()).await;
    is_active(&server, "0.1.0").await;
    version("..2", "two");
    fs::remove_dir_all(root.path().join("..1")).expect("removed");
    is_active(&server, "0.2.0").await;
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-two");
}

#[tokio::test]
async fn a_folder_that_is_deleted_with_all_that_is_in_it_and_made_again_is_watched_again() {
    let root = folder();
    let plugins = root.path().join("plugins");
    fs::create_dir(&plugins).expect("made");
    let server = watching(&plugins).await;
    for (which, version) in [("one", "0.1.0"), ("two", "0.2.0")] {
        drop_in(&plugins, "libedition", &edition(which));
        is_active(&server, version).await;
        fs::remove_dir_all(&plugins).expect("deleted");
        until("it goes with its folder", async || server.plugin("edition").await.is_null()).await;
        fs::create_dir(&plugins).expect("made");
    }
}

#[tokio::test]
async fn a_hard_link_that_comes_is_loaded_and_one_that_is_exchanged_is_reloaded() {
    let (root, elsewhere) = (folder(), folder());
    let server = watching(root.path()).await;
    let place = root.path().join("libedition.so");
    for (which, version) in [("one", "0.1.0"), ("two", "0.2.0")] {
        let source = drop_in(elsewhere.path(), which, &edition(which));
        // `link` takes no name that is there.
        let new = root.path().join("new");
        fs::hard_link(source, &new).expect("linked");
        fs::rename(new, &place).expect("renamed");
        is_active(&server, version).await;
    }
}

#[tokio::test]
async fn a_slow_writer_is_waited_for_and_the_old_version_serves() {
    let root = folder();
    let path = drop_in(root.path(), "libedition", &edition("one"));
    let server = watching(root.path()).await;
    is_active(&server, "0.1.0").await;
    let two = edition("two");
    let mut file = File::create(path).expect("opened");
    // Byte by byte at first, then in pieces: longer than a folder needs to settle.
    let (head, rest) = two.split_at(40);
    let pieces = head.chunks(1).chain(rest.chunks(rest.len() / 20));
    for piece in pieces {
        file.write_all(piece).expect("written");
        tokio::time::sleep(Duration::from_millis(15)).await;
        assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    }
    drop(file);
    is_active(&server, "0.2.0").await;
}

#[tokio::test]
async fn a_file_is_another_whatever_its_clock_says() {
    let root = folder();
    let server = watching(root.path()).await;
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    let times = [now + day * 3650, now - day * 3650, SystemTime::UNIX_EPOCH - day];
    for (time, (which, version)) in
        times.into_iter().zip([("one", "0.1.0"), ("two", "0.2.0"), ("one", "0.1.0")])
    {
        let new = root.path().join("new");
        fs::write(&new, edition(which)).expect("written");
        File::options().append(true).open(&new).expect("opened").set_modified(time).expect("set");
        fs::rename(new, root.path().join("libedition.so")).expect("renamed");
        is_active(&server, version).await;
    }
}

/// A server in a namespace of its own, in which the kernel grants no inotify instances or watches.
#[tokio::test]
#[ignore = "needs user namespaces, which some systems keep for root; run it with --ignored"]
async fn without_events_the_folder_is_looked_at_every_now_and_then() {
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let (home, root) = (folder(), folder());
        let program = serve(&home, "");
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "sh", "-c", &script, "sh"])
            .arg(program.as_std().get_program());
        command.args(program.as_std().get_args()).arg("--plugin-dir").arg(root.path());
        for (name, value) in program.as_std().get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env_remove("RUST_LOG").current_dir(home.path()).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("unshare runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        tokio::time::timeout(LONG, out.read_line(&mut line)).await.expect("in time").expect("a line");
        let admin = line.split([' ', ',']).filter(|word| word.starts_with("http://")).nth(1);
        let admin = admin.expect("it starts (user namespaces are allowed here)").to_owned();
        for (which, version) in [("one", "0.1.0"), ("two", "0.2.0")] {
            drop_in(root.path(), "libedition", &edition(which));
            until(&format!("{limit} = 0: {version} is active"), async || {
                let (_, list) = read(http().get(format!("{admin}/admin/plugins"))).await;
                list["plugins"][0]["state"] == "active" && list["plugins"][0]["version"] == version
            })
            .await;
        }
        child.start_kill().expect("killed");
        let log = child.wait_with_output().await.expect("ended").stderr;
        let log = String::from_utf8_lossy(&log);
        assert!(log.contains("without events of the file system"), "{limit}: {log}");
    }
}
