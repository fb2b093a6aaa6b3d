//! Numbers and durations of the configuration file that have bounds.
//!
//! The tables name these functions. A value outside of its bounds is refused with the name of the member.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Largest number of retries of a deployment.
const MAX_RETRIES: u32 = 100;

/// Largest weight of a deployment.
const MAX_WEIGHT: u32 = 100;

/// Largest place in the order of deployments.
const MAX_ORDER: u32 = 1000;

pub(super) fn max_retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "max_retries", 0, MAX_RETRIES)
}

pub(super) fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "weight", 1, MAX_WEIGHT)
}

pub(super) fn order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    number(deserializer, "order", 1, MAX_ORDER)
}

pub(super) fn deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match humantime_serde::deserialize::<Option<Duration>, D>(deserializer)? {
        Some(deadline) if deadline < Duration::from_secs(1) => {
            Err(D::Error::custom("`deadline` is at least 1s: no provider answers in less"))
        }
        deadline => Ok(deadline),
    }
}

fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    member: &str,
    min: u32,
    max: u32,
) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(deserializer) {
        Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => Err(D::Error::custom(format_args!("`{member}` is a number from {min} to {max}"))),
    }
}
