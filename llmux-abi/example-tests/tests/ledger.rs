//! `ledger`: each request has a row in the database, and reloads of the library lose none.

use std::{path::Path, pin::pin, time::Duration};

use llmux_core::plugins::Change;
use llmux_testing::{Harness, build::example};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::timeout;

#[path = "../../examples/ledger.rs"]
pub mod ledger;

use ledger::Ledger;

fn config(folder: &tempfile::TempDir) -> Value {
    json!({"path": folder.path().join("usage.db")})
}

/// Returns the number of rows and their tokens. Nothing else has the database open.
fn written(folder: &Path) -> (i64, i64) {
    let database = Connection::open(folder.join("usage.db")).expect("a database");
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(check, "ok");
    let sums = "SELECT count(*), sum(tokens) FROM usage";
    database.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("sums")
}

#[tokio::test]
async fn each_request_has_a_row_with_its_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let harness = Harness::new::<Ledger>(config(&folder)).await;
    let tokens = harness.chat("hello").await.body()["usage"]["total_tokens"].as_i64().expect("a usage");
    harness.chat_stream("hello").await.assert_ok();
    harness.completed().await;
    assert_eq!(harness.failures(), Vec::<String>::new());
    harness.unload().await;
    assert_eq!(written(folder.path()), (2, 2 * tokens));
}

#[tokio::test(start_paused = true)]
async fn reloads_of_the_library_lose_no_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let harness = Harness::library(example("llmux-abi", "ledger"), config(&folder)).await;
    for row in (1..=9).step_by(3) {
        harness.chat("hello").await.assert_ok();
        // So long that the reader holds it.
        let reply = harness.client().stream(Harness::request("hello ".repeat(1_000))).await;
        let mut stream = reply.result.expect("a stream");
        let mut next = pin!(async {
            let reload = Change::Reload("ledger".to_owned());
            harness.client().plugins().change(vec![reload]).await.expect("reloaded");
            harness.chat("hello").await.assert_ok();
        });
        let early = timeout(Duration::from_secs(3), &mut next).await;
        assert!(
            early.is_err(),
            "two copies of SQLite have the database open, and the first will write again"
        );
        while stream.next().await.is_some() {}
        next.await;
        harness.completed().await;
        assert_eq!(harness.failures(), Vec::<String>::new(), "after the row {row}");
    }
    harness.unload().await;
    assert_eq!(written(folder.path()).0, 9);
}
