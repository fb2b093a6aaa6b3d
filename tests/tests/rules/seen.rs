//! Rules D4, D5 and D7: the operator's view of instances while they change: states, counts, metrics, and the caller
//! of each change in the log.

use llmux_core::{
    Client,
    plugins::{Change, PluginInfo, PluginState, Setting, acting_as},
};
use llmux_tests::{Capture, Kind, Turn, kinds, scripted, world::chat};
use serde_json::json;

/// Returns the number of calls of a hook, for each instance in this state.
fn calls(client: &Client, state: PluginState, hook: &str) -> Vec<u64> {
    let list: Vec<PluginInfo> = client.plugins().list();
    let of = |info: &PluginInfo| info.hooks.iter().find(|it| it.hook == hook).map_or(0, |it| it.calls);
    list.iter().filter(|info| info.state == state).map(of).collect()
}

/// Asserts that no two lines of the metrics have equal names and labels. A reader of metrics would otherwise refuse
/// all of them.
fn every_series_is_there_once(client: &Client) {
    let text = client.render_metrics();
    let mut seen = std::collections::HashSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        assert!(seen.insert(series), "`{series}` is there twice: {text}");
    }
}

kinds! {
    async fn d4_counts_go_on_over_changes_of_an_instance_and_are_those_of_now_while_it_drains(world: World) {
        let paced = || Turn::paced(vec![json!("one"), json!("two")]);
        let provider = scripted([paced(), paced()]);
        let client = world.client(&provider, [world.probe("a", 1, json!({}))]).await;
        let mut streams = Vec::new();
        for generation in 1..3 {
            let mut stream = client.stream(chat("m")).await.result.expect("a stream");
            stream.next().await.expect("a chunk").expect("a chunk");
            streams.push(stream);
            let again = Change::Update {
                name: "a".into(),
                priority: Setting::Keep,
                on_error: Setting::Keep,
                config: Setting::Set(world.scripts(json!({}))),
            };
            client.plugins().change(vec![again]).await.expect("made anew");
            assert_eq!(calls(&client, PluginState::Draining, "pre_stream_hook").len(), generation);
            every_series_is_there_once(&client);
        }
        assert_eq!(calls(&client, PluginState::Active, "on_stream_chunk"), [2], "they go on");
        for stream in &mut streams {
            // Not to its end, which releases the instance.
            stream.next().await.expect("a chunk").expect("a chunk");
        }
        assert_eq!(calls(&client, PluginState::Draining, "on_stream_chunk"), [4, 4], "those of now");
        drop(streams);
        world.wait_for("a.drop", 2).await;
        client.plugins().unload("a").await.expect("unloaded");
        client.plugins().load(world.probe("a", 1, json!({}))).await.expect("loaded");
        assert_eq!(calls(&client, PluginState::Active, "on_stream_chunk"), [0], "another instance begins anew");
    }

    async fn every_change_is_a_line_with_who_and_what_and_several_of_one_instance_are_several_lines(world: World) {
        let logs = Capture::llmux();
        let client = world.client(&scripted([]), []).await;
        let update = |priority, config| Change::Update {
            name: "a".into(), priority, on_error: Setting::Keep, config,
        };
        let anew = || Setting::Set(world.scripts(json!({})));
        let changes = [
            (vec![Change::Load(world.probe("a", 1, json!({})))], &["loaded"][..]),
            (vec![update(Setting::Set(5), Setting::Keep)], &["updated"]),
            (vec![update(Setting::Keep, anew()), Change::Disable("a".into())], &["reloaded", "disabled"]),
            (vec![update(Setting::Clear, Setting::Keep), Change::Enable("a".into())], &["updated", "enabled"]),
            (vec![Change::Enable("a".into())], &[]),
            (vec![Change::Unload("a".into()), Change::Load(world.probe("a", 1, json!({})))], &["reloaded"]),
            (vec![Change::Unload("a".into())], &["unloaded"]),
        ];
        for (at, (changes, expected)) in changes.into_iter().enumerate() {
            let who = format!("somebody-{at}");
            acting_as(who.clone(), client.plugins().change(changes)).await.expect("changed");
            let lines = logs.with(&["llmux::audit", &format!("who={who} "), "instance=a", "version=0.1.0"]);
            assert_eq!(lines.len(), expected.len(), "{lines:#?}");
            for (line, what) in lines.iter().zip(expected) {
                assert!(line.contains(&format!("what={what} ")), "{what}: {line}");
                let has = |part: &str| line.contains(part);
                assert_eq!(has("old_version=0.1.0"), *what != "loaded", "{line}");
                assert_eq!(has("new_version=0.1.0"), *what != "unloaded", "{line}");
                let hashed = world.kind != Kind::Compiled;
                assert_eq!(has("old_sha256="), hashed && *what != "loaded", "{line}");
                assert_eq!(has("new_sha256="), hashed && *what != "unloaded", "{line}");
            }
        }
        for refused in ["unload", "reload", "enable", "disable", "update"] {
            let change = match refused {
                "unload" => Change::Unload("b".into()),
                "reload" => Change::Reload("b".into()),
                "enable" => Change::Enable("b".into()),
                "disable" => Change::Disable("b".into()),
                _ => Change::Update {
                    name: "b".into(), priority: Setting::Clear, on_error: Setting::Keep, config: Setting::Keep,
                },
            };
            acting_as("nobody", client.plugins().change(vec![change])).await.expect_err("there is none");
            let lines = logs.with(&["WARN llmux::audit", "who=nobody ", &format!("what={refused} "), "instance=b", "refused: "]);
            assert_eq!(lines.len(), 1, "{refused}: {:#?}", logs.lines());
        }
    }
}
