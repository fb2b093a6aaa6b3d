//! Rules I2 and I5: the programs that an isolated instance with `processes = true` has started end with its child.

use std::{fs, time::Duration};

use llmux_core::pipeline::PipelineConfig;
use llmux_testing::program::until;
use llmux_tests::{
    Kind, World, scripted,
    world::{builder, built},
};
use serde_json::json;

use crate::isolation::{ask, dies, kill, process, wait_for};

/// Returns the state, the parent and the process group of a process.
fn stat(pid: &str) -> Option<(String, String, String)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.next()?, fields.next()?))
}

/// Returns true if a process runs. One that nobody has waited for is over.
fn runs(pid: &str) -> bool {
    stat(pid).is_some_and(|(state, ..)| state != "Z")
}

/// Returns the watcher of a child: the other process in its group that this test has started.
fn watcher(child: u32) -> Option<u32> {
    let (this, child) = (std::process::id().to_string(), child.to_string());
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let mut ids = processes.filter_map(|process| process.file_name().into_string().ok());
    let found = ids.find(|pid| {
        *pid != child && stat(pid).is_some_and(|(_, parent, group)| parent == this && group == child)
    });
    found?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_programs_of_a_plugin_end_with_its_child_for_any_reason() {
    let world = World::new(Kind::Isolated);
    let pipeline = PipelineConfig::default().with_pre_hook_timeout(Duration::from_millis(500));
    let client = built(builder(&scripted([])).pipeline(pipeline), []).await;
    let programs = world
        .sandbox()
        .with_read(Some(["/usr/bin", "/bin", "/dev/null"].map(Into::into).to_vec()))
        .with_processes(Some(true));
    for end in ["unload", "watcher", "segv", "exit", "loop"] {
        let path = world.text_path(end);
        let mut pre = vec![json!({"do": "start_program", "path": path})];
        pre.extend(dies(end).as_array().cloned().unwrap_or_default());
        let plugin = world.probe(end, 1, json!({"pre": pre})).with_sandbox(programs.clone());
        client.plugins().load(plugin).await.expect("loaded");
        let before = process(&client, end).pid;
        let dies = !["unload", "watcher"].contains(&end);
        assert_eq!(ask(&client, if dies { "n" } else { "m" }, false).await, ["again"], "{end}");
        let program = fs::read_to_string(&path).expect("the number of the program");
        assert!(dies || runs(&program), "{end}: it has left its parents");
        let watcher = before.and_then(watcher);
        match end {
            "unload" => {
                client.plugins().unload(end).await.expect("unloaded");
                assert!(watcher.is_some_and(|watcher| stat(&watcher.to_string()).is_none()), "{watcher:?}");
            }
            "watcher" => kill(watcher.expect("a watcher")),
            _ => {}
        }
        until("the program is over", async || !runs(&program)).await;
        if end != "unload" {
            let after = wait_for(&client, end, "active", before).await;
            assert_eq!(after.deaths.values().sum::<u64>(), 1, "{end}: {after:?}");
        }
    }
    world.finish(&client).await;
}
