//! The peers: the programs under test, and how each of them is started.
//!
//! `run` starts them. Each file below has one program: where it is, its configuration, its command line. Deliberately absent:
//! the processes, which are `process`'s, and the measurement.

mod envoy;
mod llmux;
mod nginx;

use std::{borrow::Cow, net::SocketAddr};

use clap::ValueEnum;
use serde::Serialize;

use crate::launch::{Absent, Places, Program};

/// A program under test, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(into = "String")]
pub(crate) enum Peer {
    /// No gateway: the load calls the mock provider
    Direct,
    /// nginx as a plain proxy that keeps its connections
    Nginx,
    /// Envoy with four dynamic modules whose functions are empty
    Envoy,
    /// llmux without a plugin
    Llmux,
    /// llmux with the four built-in plugins as libraries; every request is a miss
    #[value(name = "llmux-4")]
    LlmuxFour,
    /// llmux with the four built-in plugins as libraries; every request is a hit
    LlmuxHit,
    /// Envoy with this number of copies of its module, for the cost of one; not named on the command line
    #[value(skip)]
    EnvoyModules(usize),
    /// llmux with this number of instances of one library with empty hooks, for the cost of one; not named either
    #[value(skip)]
    LlmuxPlugins(usize),
}

impl Peer {
    /// Every peer that the command line names, in the order of tables.
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Nginx, Self::Envoy, Self::Llmux, Self::LlmuxFour, Self::LlmuxHit];

    /// Name on the command line, in files and in JSON.
    pub(crate) fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Llmux => "llmux",
            Self::LlmuxFour => "llmux-4",
            Self::LlmuxHit => "llmux-hit",
            Self::EnvoyModules(count) => return format!("envoy-{count}-empty").into(),
            Self::LlmuxPlugins(count) => return format!("llmux-{count}-empty").into(),
        })
    }

    /// Name in tables for readers.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "no gateway",
            Self::Nginx => "nginx, plain proxy",
            Self::Envoy => "Envoy, four empty modules",
            Self::Llmux => "llmux, no plugin",
            Self::LlmuxFour => "llmux, four built-ins",
            Self::LlmuxHit => "llmux, cache hits",
            Self::EnvoyModules(_) => "Envoy, empty modules",
            Self::LlmuxPlugins(_) => "llmux, empty plugins",
        }
    }

    /// Further lines of the head of each request.
    pub(crate) fn headers(self) -> &'static str {
        match self {
            Self::LlmuxFour => "cache-control: no-cache\r\n",
            _ => "",
        }
    }

    /// Returns true if every response comes from a cache, once the first one is stored.
    pub(crate) fn hits(self) -> bool {
        self == Self::LlmuxHit
    }

    /// Writes the configuration of the peer. Returns its program, or `None` for [`Direct`](Self::Direct).
    ///
    /// # Errors
    ///
    /// If the program is not installed, or its files cannot be made.
    pub(crate) fn prepare(self, places: &Places, address: SocketAddr) -> Result<Option<Program>, Absent> {
        match self {
            Self::Direct => Ok(None),
            Self::Nginx => nginx::prepare(places, address).map(Some),
            // As many modules as there are built-in plugins.
            Self::Envoy => envoy::prepare(places, address, &self.name(), 4).map(Some),
            Self::EnvoyModules(count) => envoy::prepare(places, address, &self.name(), count).map(Some),
            Self::Llmux => llmux::prepare(places, address, &self.name(), &[]).map(Some),
            Self::LlmuxFour | Self::LlmuxHit => {
                llmux::prepare(places, address, &self.name(), &llmux::built_ins(places)).map(Some)
            }
            Self::LlmuxPlugins(count) => {
                llmux::prepare(places, address, &self.name(), &llmux::empty(places, count)?).map(Some)
            }
        }
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        peer.name().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_command_line_and_of_json() {
        assert_eq!(Peer::value_variants(), Peer::ALL);
        for peer in Peer::ALL {
            assert_eq!(peer.to_possible_value().expect("a value").get_name(), peer.name());
            assert_eq!(serde_json::to_value(peer).expect("JSON"), *peer.name());
        }
    }
}
