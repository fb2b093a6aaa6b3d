//! Code of `waiting.md`: tasks, a runtime that the plugin owns, and cancelled hooks. Compiled and run by `llmux-abi/example-tests`.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;
use llmux_testing::{Harness, ScriptedResponse, ScriptedServer};
use serde_json::json;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

#[derive(Deserialize, JsonSchema)]
struct Source {
    url: String,
}

/// Keeps a list of words, which a task fetches again every minute.
struct Blocklist {
    words: Arc<Mutex<Vec<String>>>,
}

impl Plugin for Blocklist {
    type Config = Source;

    fn new(config: Source, host: Host) -> Result<Self> {
        let words = Arc::new(Mutex::new(Vec::new()));
        let (fetched, service) = (words.clone(), host.clone());
        // The task ends with the instance: an unload aborts it.
        let _task = host.spawn(async move {
            loop {
                match fetch(&service, &config.url).await {
                    Ok(new) => *fetched.lock().unwrap_or_else(PoisonError::into_inner) = new,
                    Err(error) => warn!(%error, "keeping the words there are"),
                }
                service.sleep(Duration::from_secs(60)).await;
            }
        })?;
        Ok(Self { words })
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let text = request.last_user_text().unwrap_or_default();
        // The lock is held for this line only, never across an await.
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match words.iter().find(|word| text.contains(&**word)) {
            Some(_) => Ok(ShortCircuit::reject(Error::invalid_request("mind your language")).into()),
            None => Ok(Flow::Continue),
        }
    }
}

async fn fetch(host: &Host, url: &str) -> Result<Vec<String>> {
    let response = host.http(HttpRequest::get(url).with_timeout(Duration::from_secs(2))).await?;
    if !response.is_success() {
        return Err(Error::new(format!("the list answered {}", response.status())));
    }
    response.json()
}

/// Reads a file without blocking a thread of the host.
async fn read(host: &Host, path: PathBuf) -> Result<String> {
    Ok(host.spawn_blocking(move || std::fs::read_to_string(path))?.await??)
}

/// Adds the text of a file to every request.
struct FromFile {
    host: Host,
    path: PathBuf,
}

impl Plugin for FromFile {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host, path: PathBuf::from("Cargo.toml") })
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let text = read(&self.host, self.path.clone()).await?;
        request.prepend_message("system", &text)?;
        Ok(Flow::Continue)
    }
}

/// Owns a tokio runtime: for clients that need one.
struct Own {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Plugin for Own {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let text = request.last_user_text().unwrap_or_default();
        // The task runs on the plugin's threads; the hook awaits its handle on a thread of the host.
        let score = OnDropAbort(self.handle.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            text.len() as i64
        }));
        ctx.set("own.score", score.output().await?)?;
        // A long computation, a file, a client that blocks.
        let heavy = self.handle.spawn_blocking(|| (1..=20_i64).product::<i64>());
        ctx.set("own.heavy", heavy.await?)?;
        Ok(Flow::Continue)
    }

    async fn cleanup(&self) -> Result<()> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
        Ok(())
    }
}

/// Task that is aborted when its waiter is dropped. A bare `JoinHandle` leaves it running.
struct OnDropAbort<T>(JoinHandle<T>);

impl<T> OnDropAbort<T> {
    async fn output(mut self) -> Result<T> {
        Ok((&mut self.0).await?)
    }
}

impl<T> Drop for OnDropAbort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts the requests that wait in the hook, however they end.
struct Slow {
    host: Host,
    waiting: Arc<AtomicU64>,
}

struct Place<'a>(&'a AtomicU64);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Plugin for Slow {
    type Config = NoConfig;

    fn new(_: NoConfig, host: Host) -> Result<Self> {
        Ok(Self { host, waiting: Arc::default() })
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        let _place = Place::take(&self.waiting);
        self.host.sleep(Duration::from_secs(3600)).await; // cancelled here, after 10 s
        Ok(Flow::Continue) // never reached
    }
}

#[tokio::test]
async fn a_task_beside_the_requests_keeps_the_list() {
    let list = ScriptedServer::start([ScriptedResponse::json(200, r#"["damn"]"#)]).await;
    let spec = PluginSpec::of::<Blocklist>("blocklist").with_config(json!({"url": list.base_url()}));
    let harness = Harness::builder().spec(spec).build().await;
    while harness.chat("damn").await.error().is_none() {
        tokio::task::yield_now().await;
    }
    harness.chat("hello").await.assert_ok();
    harness.unload().await;
}

#[tokio::test]
async fn a_file_is_read_on_a_thread_that_may_block() {
    let harness = Harness::builder().spec(PluginSpec::of::<FromFile>("from-file")).build().await;
    harness.chat("Hi").await.assert_ok();
    let text = std::fs::read_to_string("Cargo.toml").expect("the manifest of this crate");
    harness.assert_sent("/messages/0/content", text);
}

#[tokio::test]
async fn a_runtime_of_its_own_does_what_the_hosts_cannot() {
    let harness = Harness::builder().spec(PluginSpec::of::<Own>("own")).build().await;
    let reply = harness.chat("four").await;
    reply.assert_value("own.score", 4).assert_value("own.heavy", 2_432_902_008_176_640_000_i64);
    harness.unload().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_hook_drops_what_it_holds() {
    let waiting = Arc::new(AtomicU64::new(0));
    let shared = waiting.clone();
    let make = move |host| Ok(Slow { host, waiting: shared.clone() });
    let harness = Harness::builder().spec(PluginSpec::by_hand("slow", make)).build().await;
    let reply = harness.chat("Hi").await;
    assert_eq!(reply.failures(), ["`slow` in pre_hook: ran past its timeout of 10s"]);
    assert_eq!(waiting.load(Ordering::Relaxed), 0);
}
