//! Configuration: the types of the file, the client built from it, the difference of two files, the plugin folders.
//!
//! `commands` and `admin` use it. Deliberately absent: listeners and HTTP.

mod bounded;
pub(crate) mod client;
pub(crate) mod diff;
pub(crate) mod file;
pub(crate) mod folder_watcher;
pub(crate) mod hash;
mod instance_table;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod overrides;
pub(crate) mod provider;
mod provider_table;
#[cfg(test)]
mod reference;
pub(crate) mod response_id_secret;
mod retry_table;
mod secret_place;
mod sense;
pub(crate) mod server;
