//! The cases of the benchmark: the load of each, and the peers that take part.
//!
//! `arguments` reads them, `run` measures them. Deliberately absent: the bytes of a request, which are `exchange`'s.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::{exchange::Kind, peer::Peer};

/// Rounds of concurrent bodies of the case `burst`.
pub(crate) const BURST_ROUNDS: usize = 10;

/// Rest after the case `burst`, before memory is read.
pub(crate) const BURST_REST: Duration = Duration::from_secs(2);

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    /// 1 connection, requests of 1 KB
    C1,
    /// 16 connections, requests of 1 KB
    C16,
    /// 64 connections, requests of 1 KB
    C64,
    /// 8 connections, requests of 256 KB
    #[value(name = "256k-c8")]
    #[serde(rename = "256k-c8")]
    Large,
    /// 16 connections, streams of 20 events without a pause
    #[value(name = "sse20-c16")]
    #[serde(rename = "sse20-c16")]
    Stream,
    /// 16 streams with a pause of 20 ms before each event; measures the delay of an event
    SlowStream,
    /// 10 rounds of 32 concurrent requests of 9 MB; measures the memory after a rest of 2 s
    Burst,
}

impl Case {
    /// Every case, in the order in which they run. `burst` is the last, because it changes the memory of the peers.
    pub(crate) const ALL: [Self; 7] =
        [Self::C1, Self::C16, Self::C64, Self::Large, Self::Stream, Self::SlowStream, Self::Burst];

    /// Name on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::C1 => "c1",
            Self::C16 => "c16",
            Self::C64 => "c64",
            Self::Large => "256k-c8",
            Self::Stream => "sse20-c16",
            Self::SlowStream => "slow-stream",
            Self::Burst => "burst",
        }
    }

    /// Number of connections.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::C1 => 1,
            Self::C16 | Self::Stream | Self::SlowStream => 16,
            Self::C64 => 64,
            Self::Large => 8,
            Self::Burst => 32,
        }
    }

    /// Size of a request's body, in bytes.
    pub(crate) fn body_bytes(self) -> usize {
        match self {
            Self::Large => 256 << 10,
            Self::Burst => 9_000_000,
            _ => 1 << 10,
        }
    }

    /// Kind of the response that the requests ask for.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Stream => Kind::Stream,
            Self::SlowStream => Kind::SlowStream,
            _ => Kind::Plain,
        }
    }

    /// Returns true for a case whose figures are the costs of a request: processor time, throughput and latency.
    pub(crate) fn is_costed(self) -> bool {
        !matches!(self, Self::SlowStream | Self::Burst)
    }

    /// Returns true if the case measures something of the peer.
    pub(crate) fn applies_to(self, peer: Peer) -> bool {
        match self {
            // A stored answer carries the send times of the stream that was stored.
            Self::SlowStream => peer != Peer::LlmuxHit,
            Self::Burst => peer != Peer::Direct,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_command_line_and_of_json() {
        assert_eq!(Case::value_variants(), Case::ALL);
        for case in Case::ALL {
            assert_eq!(case.to_possible_value().expect("a value").get_name(), case.name());
            assert_eq!(serde_json::to_value(case).expect("JSON"), case.name());
        }
    }
}
