//! Reads values from text in the Prometheus format.

use crate::World;

/// Returns the value of a metric with these labels, whatever its other labels; the sum if several series match.
pub async fn value(world: &World, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    value_in(&world.metrics().await, name, labels)
}

/// Returns the value of a metric in a text, as [`value`] does for a host.
pub fn value_in(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix('{')?;
        let (found, value) = rest.rsplit_once("} ")?;
        pairs.iter().all(|pair| found.split(',').any(|there| there == pair)).then(|| value.parse().ok())?
    });
    values.fold(None, |sum, value: f64| Some(sum.unwrap_or(0.0) + value))
}
