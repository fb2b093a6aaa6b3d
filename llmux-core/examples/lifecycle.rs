//! A program that manages plugins without a server: finds them in a folder, checks them, loads, changes, reloads and
//! unloads one, and receives an event for each change.
//!
//! `cargo run -p llmux-core --example lifecycle -- path/to/folder`

use std::{error::Error, path::PathBuf, sync::Arc};

use llmux_core::{
    Client, PluginSpec,
    plugins::{
        Change, OnError, PluginInfo, PluginState, PluginsConfig, RetiredImages, Setting, VerifyOptions,
        acting_as, discover, verify,
    },
    provider::Echo,
};

/// Takes the first loadable library of the folder through its life. Returns a line for each step.
pub async fn lifecycle(folder: PathBuf) -> Result<Vec<String>, Box<dyn Error>> {
    let mut lines = Vec::new();

    // Discovery and verification need no client, and run no code of the files. They read the files, so a program with
    // other tasks calls them on a thread that may block.
    let options = VerifyOptions::default().with_folders(vec![folder.clone()]);
    let mut loadable = None;
    for found in discover(std::slice::from_ref(&folder), &options)? {
        match (&found.refused, &found.manifest) {
            (Some(error), _) => lines.push(format!("refused by the check `{}`", error.check().as_str())),
            (None, manifest) => {
                let manifest = manifest.as_ref().expect("a library that is not refused has a manifest");
                lines.push(format!("found {} {}", manifest.name, manifest.version));
                loadable = loadable.or(Some(found.path));
            }
        }
    }
    let library = loadable.ok_or("the folder holds no library that may be loaded here")?;
    let verified = verify(&library, &options)?;
    lines.push(format!("verified {} of {} bytes", verified.manifest.name, verified.bytes.len()));

    // With a plugin folder, plugins can also be loaded by their names.
    let plugins = PluginsConfig::default().with_dirs(vec![folder]);
    let client = Client::builder().plugins(plugins).provider("echo", Arc::new(Echo::new()), ["echo"]);
    let client = client.build().await?;
    let registry = client.plugins();
    let mut events = registry.subscribe();

    // With the hash, the file is refused if its bytes have changed since it was verified.
    let spec = PluginSpec::path(&library).with_name("mine").with_priority(7).with_sha256(verified.sha256);
    lines.push(state(&acting_as("an embedder", registry.load(spec)).await?));

    // Several changes are one step: all of them succeed, or none.
    let stricter = Change::Update {
        name: "mine".to_owned(),
        priority: Setting::Set(9),
        on_error: Setting::Set(OnError::Fail),
        config: Setting::Keep,
    };
    for info in registry.change(vec![Change::Reload("mine".to_owned()), stricter]).await? {
        lines.push(state(&info));
    }
    for change in [Change::Disable("mine".to_owned()), Change::Enable("mine".to_owned())] {
        registry.change(vec![change]).await?;
        // The instance from before the reload may still be draining.
        let list = registry.list();
        lines.extend(list.iter().filter(|info| info.state != PluginState::Draining).map(state));
    }
    if let Err(error) = registry.load(PluginSpec::path("/nowhere/libnone.so")).await {
        lines.push(format!("refused: {error}"));
    }
    lines.push(format!("unloaded: {:?}", registry.unload("mine").await?));
    let RetiredImages { count, .. } = registry.retired();
    lines.push(format!(
        "{} instances, {count} retired images, {} refused",
        registry.list().len(),
        registry.refused()
    ));

    // The events that every subscriber has received meanwhile.
    while let Ok(event) = events.try_recv() {
        lines.push(format!("event: {} {} by {:?}", event.name, event.kind.as_str(), event.by));
    }
    client.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(lines)
}

/// The most important facts about an instance.
fn state(info: &PluginInfo) -> String {
    let PluginInfo { name, plugin, priority, generation, .. } = info;
    format!("{name} ({plugin}) is {}, priority {priority}, generation {generation}", info.state.as_str())
}

#[tokio::main]
#[allow(dead_code, reason = "a test calls `lifecycle` itself")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("the first argument is a folder of plugins")?;
    for line in lifecycle(std::path::absolute(folder)?).await? {
        println!("{line}");
    }
    Ok(())
}
