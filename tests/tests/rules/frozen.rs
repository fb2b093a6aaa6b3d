//! The promise of the contract (`llmux-abi/ABI.md`), shown by plugins that use the tables alone. One is built against the
//! current contract and runs. Two have copies of the contract as ABI 0.2.0 was, in Rust and in C, and run. One was built
//! against ABI 0.1.0 and is refused, because 0.2 broke that contract. The copies, and their plugins, are never edited.

use std::{fs, path::Path, sync::Arc};

use llmux_core::{
    Client, PluginSpec,
    plugins::{LibraryError, PluginsConfig, VerifyOptions, verify},
    provider::Echo,
};
use llmux_testing::{Harness, ScriptedResponse, ScriptedServer, blocks::root};
use llmux_tests::{Fixtures, native};
use serde_json::json;
use sha2::{Digest, Sha256};

async fn tables() -> Harness {
    Harness::library(Fixtures::get().tables(), json!({})).await
}

#[tokio::test]
async fn a_plugin_on_the_tables_alone_runs_every_hook_of_a_request() {
    let harness = tables().await;
    let reply = harness.chat(json!({"messages": [{"role": "user", "content": "Hi"}]})).await;
    reply.assert_ok().assert_header("x-tables", "yes").assert_value("tables", "yes");
    assert_eq!(reply.body()["tables"], true, "the post hook");
    harness.assert_sent("/tables", 1);
    harness.completed().await;
    harness.assert_logged("completed");
    let requests = harness.metric("tables_requests", &[("ending", "completed")]);
    assert_eq!(requests, Some(1.0), "{}", harness.metrics());
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_on_the_tables_alone_runs_every_hook_of_a_stream() {
    let harness = tables().await;
    let reply = harness.chat_stream(json!({"messages": [{"role": "user", "content": "Hi"}]})).await;
    reply.assert_ok().assert_header("x-tables", "yes");
    harness.assert_sent("/tables", 1);
    let (last, chunks) = reply.chunks().split_last().expect("chunks");
    assert_eq!(last["object"], "tables", "what the end of the stream emitted");
    assert!(!chunks.is_empty() && chunks.iter().all(|chunk| chunk["tables"] == true), "{chunks:?}");
    harness.completed().await;
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_on_the_tables_alone_edits_and_holds_texts() {
    let harness = tables().await;
    harness.stream_text(&["mark", " me"]);
    let reply = harness.chat_stream(json!({"messages": [{"role": "user", "content": "mark me"}]})).await;
    reply.assert_ok().assert_text("marked");
    harness.assert_sent("/messages/0/content", "marked");
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_on_the_tables_alone_refuses_beside_the_call() {
    let harness = tables().await;
    let reply = harness.chat(json!({"model": "refuse-beside", "messages": []})).await;
    reply.assert_rejected(451).assert_header("x-tables", "yes");
    harness.assert_nothing_sent();
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn t5_a_plugin_on_the_tables_alone_edits_a_call_after_its_texts_and_removes_another() {
    let harness = tables().await;
    let call = |name: &str, input: &str| json!({"id": name, "type": "custom", "custom": {"name": name, "input": input}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call("remove", ""), call("run", "mark me")]});
    let answer = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    harness.respond(answer.clone()).respond(answer);
    let plain = harness.chat(json!({"messages": []})).await;
    let stream = harness.chat_stream(json!({"messages": []})).await;
    let mut expected = call("run", "marked");
    expected["custom"]["name"] = json!("renamed");
    assert_eq!(plain.assert_ok().body()["choices"][0]["message"]["tool_calls"], json!([expected]));
    assert_eq!(stream.assert_ok().body()["choices"][0]["message"]["tool_calls"], json!([expected]));
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_on_the_tables_alone_rejects_and_is_unloaded() {
    let harness = tables().await;
    let reply = harness.chat(json!({"model": "refuse", "messages": []})).await;
    reply.assert_rejected(403);
    harness.assert_nothing_sent();
    harness.completed().await;
    harness.assert_logged("completed without a turn");
    harness.unload().await;
    harness.assert_logged("cleaned up");
}

#[tokio::test]
async fn d2_an_entry_without_a_layout_that_this_host_reads_is_trusted_by_its_version() {
    for name in ["llmux-tables-trusted", "llmux-tables-unread"] {
        let harness = Harness::library(Fixtures::get().library(name), json!({})).await;
        let reply = harness.chat(json!({"messages": [{"role": "user", "content": "Hi"}]})).await;
        reply.assert_ok().assert_header("x-tables", "yes");
    }
}

#[tokio::test]
async fn d2_an_entry_that_breaks_the_contract_is_refused() {
    let abi = llmux_abi::raw::version::ABI_VERSION;
    for (name, expected) in [
        ("llmux-tables-format", "its entry has the format 2, but this host reads 1".to_owned()),
        ("llmux-tables-other", format!("its entry says the ABI `0.3.0`, but its manifest says `{abi}`")),
        ("llmux-tables-null", "gave an instance whose object is null".to_owned()),
    ] {
        let client =
            Client::builder().plugins(PluginsConfig::default().with_allow_insecure_permissions(true));
        let client =
            client.provider("echo", Arc::new(Echo::new()), ["echo"]).build().await.expect("a client");
        let spec = PluginSpec::path(Fixtures::get().library(name));
        let refused = client.plugins().load(spec).await.expect_err("refused").to_string();
        assert!(refused.contains(&expected), "{name}: {refused}");
    }
}

#[tokio::test]
async fn a_plugin_built_for_abi_0_2_0_runs_every_hook() {
    let harness = Harness::library(Fixtures::get().frozen_0_2(), json!({})).await;
    let hello = || json!({"messages": [{"role": "user", "content": "Hi"}]});
    let reply = harness.chat(hello()).await;
    reply.assert_ok().assert_header("x-tables", "yes").assert_value("tables", "yes");
    assert_eq!(reply.body()["tables"], true, "the post hook");
    harness.assert_sent("/tables", 1);
    let reply = harness.chat_stream(hello()).await;
    reply.assert_ok();
    let (last, chunks) = reply.chunks().split_last().expect("chunks");
    assert_eq!(last["object"], "tables", "what the end of the stream emitted");
    assert!(!chunks.is_empty() && chunks.iter().all(|chunk| chunk["tables"] == true), "{chunks:?}");
    harness.chat(json!({"model": "refuse", "messages": []})).await.assert_rejected(403);
    harness.completed().await;
    assert_eq!(
        harness.metric("tables_requests", &[("ending", "completed")]),
        Some(2.0),
        "{}",
        harness.metrics()
    );
    assert_eq!(harness.failures(), Vec::<String>::new());
    harness.unload().await;
    harness.assert_logged("cleaned up");
}

#[tokio::test]
async fn a_plugin_in_c_built_for_abi_0_2_0_waits_and_refuses() {
    let service = ScriptedServer::start([200, 403].map(|status| ScriptedResponse::json(status, "{}"))).await;
    let config = json!({"url": service.base_url(), "timeout_ms": 10_000});
    let harness = Harness::library(native::frozen_0_2_c(), config).await;
    let hello = || json!({"messages": [{"role": "user", "content": "Hi"}]});
    harness.chat(hello()).await.assert_ok();
    harness.chat(hello()).await.assert_rejected(403);
    harness.completed().await;
    assert_eq!(harness.failures(), Vec::<String>::new());
}

#[test]
fn a_plugin_built_for_abi_0_1_0_is_refused_and_both_versions_named() {
    let refused = verify(&Fixtures::get().frozen_0_1(), &VerifyOptions::default());
    let Err(error @ LibraryError::AbiMismatch { .. }) = refused else { panic!("{refused:?}") };
    let message = error.to_string();
    for version in [llmux_abi::raw::version::ABI_VERSION, "0.1.0"] {
        assert!(message.contains(version), "{message}");
    }
}

#[test]
fn the_frozen_plugins_are_what_they_were() {
    for (folder, expected) in [
        ("frozen-0.1", "d96abd818467cb344b76ae226444533c24ae85289b04364d3f1fcef9e1a3087e"),
        ("frozen-0.2", "267242608b5271b81a9db4629bea8ae6362c43897394635ec6af12c55acedd90"),
        ("frozen-0.2-c", "829b8ecadc8dbe8990b1bb1ee814aa02cf1217eb1ac632d7842d4883a2f4d631"),
    ] {
        let mut hash = Sha256::new();
        digest(&root().join("tests/fixtures").join(folder), &mut hash);
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            found, expected,
            "{folder} stands for the plugins that are out there: undo the change, and mend the host instead"
        );
    }
}

/// Hashes all files of a folder with their paths, in the order of their names.
fn digest(folder: &Path, hash: &mut Sha256) {
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in files {
        hash.update(file.file_name().expect("a name").as_encoded_bytes());
        match file.is_dir() {
            true => digest(&file, hash),
            false => hash.update(fs::read(&file).expect("a file")),
        }
    }
}
