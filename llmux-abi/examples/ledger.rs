//! Writes the tokens of each request into a SQLite database.
//!
//! SQLite is compiled into this library. A reload would open the database with a second copy of SQLite, while the first copy
//! still has it open. POSIX gives the locks of a file to the process: as soon as one copy closes the file, the locks of the
//! other are gone, and the database can be damaged. Therefore the manifest says `reload = "exclusive"`: the host ends this
//! instance, which closes the database, before it makes the next one.
//!
//! `config = { path = "usage.db" }`
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use llmux_abi::{Reload, Service, prelude::*};
use rusqlite::Connection;

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File of the database. It is made if it is not there.
    path: PathBuf,
}

/// Writes the tokens of each request into a SQLite database.
pub struct Ledger {
    host: Host,
    database: Arc<Mutex<Connection>>,
}

impl Plugin for Ledger {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        let database = Connection::open(&config.path)?;
        database.execute_batch(
            "CREATE TABLE IF NOT EXISTS usage (request TEXT PRIMARY KEY, user TEXT, model TEXT, tokens INTEGER)",
        )?;
        Ok(Self { host, database: Arc::new(Mutex::new(database)) })
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let tokens = completion.usage().map_or(0, |usage| usage.total_tokens) as i64;
        let row =
            (ctx.request_id().to_owned(), ctx.user().map(str::to_owned), ctx.model().to_owned(), tokens);
        let database = self.database.clone();
        // SQLite waits for the disk, so it gets a thread that may block.
        let written = self.host.spawn_blocking(move || {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            database.execute("INSERT INTO usage VALUES (?1, ?2, ?3, ?4)", row)
        });
        let written: Result<usize> = match written {
            Ok(task) => task.await.and_then(|written| Ok(written?)),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::error!("the usage of a request is lost: {}", error.message());
        }
    }
}

llmux_abi::export_plugin!(
    Ledger,
    name: "ledger",
    reload: Reload::Exclusive,
    needs: &[Service::SpawnBlocking],
);
