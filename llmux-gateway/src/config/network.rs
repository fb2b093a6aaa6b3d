//! Networks in the configuration: an IP address, or a range of them in CIDR notation.
//!
//! `server` reads them; `http` compares the addresses of peers with them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};

/// An IP address or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network(IpNet);

impl Network {
    /// Returns true if the address is in the network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
        one.or_else(|_| text.parse()).map(Self).map_err(|_| {
            format!("`{text}` is no IP address and no network; a network is ADDRESS/BITS, such as 10.0.0.0/8")
        })
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
