//! A look into Prometheus' text.

use crate::World;

/// The value of a metric with these labels, others ignored; the sum where several have them.
pub async fn value(world: &World, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    value_in(&world.metrics().await, name, labels)
}

/// The same, of text.
pub fn value_in(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix('{')?;
        let (found, value) = rest.rsplit_once("} ")?;
        pairs.iter().all(|pair| found.split(',').any(|there| there == pair)).then(|| value.parse().ok())?
    });
    values.fold(None, |sum, value: f64| Some(sum.unwrap_or(0.0) + value))
}
