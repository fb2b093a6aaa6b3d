//! The metrics of plugins, and the text of all metrics of a host.
//!
//! Plugins register metrics through `boundary::host`; the metrics of an instance are removed with it. The client renders
//! them together with the host's own, which `plugins::report` collects. Clients of the API choose some label values, such
//! as a model's name: each label keeps a bounded number of values, and every further value is recorded as `other`. A metric
//! keeps a bounded number of series; beyond it, all label values of a further series are recorded as `other`.

mod family;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    Encoder, Opts, TextEncoder,
    proto::{Metric, MetricFamily},
};

use self::family::{Family, Kind, Series};

/// The label that names the instance a metric belongs to.
const OWNER: &str = "plugin";

/// Prefixes of the host's own metrics (`plugins::report::metrics`, `upstream::metrics`, and those of the program's
/// listeners): no plugin may register such a name.
pub(crate) const RESERVED: [&str; 6] = [
    "llmux_hook_",
    "llmux_plugin_",
    "llmux_retired_",
    "llmux_dropped_",
    "llmux_deployment_",
    "llmux_listener_",
];

/// All metrics of a host.
///
/// Not a `prometheus::Registry`, which keeps the labels of a name forever.
#[derive(Default)]
pub(crate) struct Metrics {
    /// The metrics of each instance, by the names of the instance and of the metric.
    ///
    /// A new generation of an instance is made before the old one is unloaded. Meanwhile, they share a metric of the same
    /// shape, which continues to count. Of two metrics of different shapes the newer one is shown; the older one is shown
    /// again if the newer one is removed first.
    held: Mutex<HashMap<(String, String), Vec<Held>>>,
}

/// A metric, and the number of generations of its instance that hold it.
struct Held {
    shape: Shape,
    metric: PluginMetric,
    holders: usize,
}

/// The properties of a metric that must be equal for two generations to share it.
#[derive(PartialEq)]
struct Shape {
    kind: u8,
    buckets: Vec<f64>,
    labels: Vec<String>,
}

/// The kind of a metric.
pub(crate) enum MetricKind<'a> {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets. Without any, it has the default buckets.
    Histogram(&'a [f64]),
}

/// A metric that a plugin has registered.
#[derive(Clone)]
pub(crate) struct PluginMetric {
    key: (String, String),
    family: Arc<Family>,
}

impl Metrics {
    /// Renders every metric in Prometheus' text format: those of plugins, and the host's `own`.
    pub(crate) fn render(&self, own: Vec<MetricFamily>) -> String {
        let mut families = BTreeMap::new();
        for family in
            self.held().values().filter_map(|held| held.last()).flat_map(|held| held.metric.family.collect())
        {
            add(&mut families, family);
        }
        own.into_iter().for_each(|family| add(&mut families, family));
        for family in families.values_mut() {
            let values = |metric: &Metric| -> Vec<String> {
                metric.get_label().iter().map(|label| label.value().to_owned()).collect()
            };
            family.mut_metric().sort_by_cached_key(values);
        }
        let families: Vec<_> = families.into_values().collect();
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!("a metric cannot be written: {error}");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Registers a metric of the instance `owner`.
    ///
    /// # Errors
    ///
    /// If the name is reserved or invalid, a label's name is invalid, or another instance has a metric of that name and of
    /// another kind.
    pub(crate) fn register(
        &self,
        owner: &str,
        kind: &MetricKind<'_>,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<PluginMetric, prometheus::Error> {
        if let Some(own) = RESERVED.iter().find(|own| name.starts_with(*own)) {
            return Err(prometheus::Error::Msg(format!("`{own}…` are the host's own names; take another")));
        }
        let key = (owner.to_owned(), name.to_owned());
        let shape = Shape::of(kind, labels);
        let mut all = self.held();
        let same = all.get_mut(&key).and_then(|held| held.iter_mut().find(|held| held.shape == shape));
        if let Some(held) = same {
            held.holders += 1;
            return Ok(held.metric.clone());
        }
        // An older generation of the same instance may have another kind.
        let is_other_kind = |(key, held): (&(String, String), &Vec<Held>)| {
            key.1 == name && key.0 != owner && held.iter().any(|held| held.shape.kind != shape.kind)
        };
        if all.iter().any(is_other_kind) {
            let message = format!("another plugin has a metric `{name}` of another kind");
            return Err(prometheus::Error::Msg(message));
        }
        let kind = match kind {
            MetricKind::Counter => Kind::Counter,
            MetricKind::Gauge => Kind::Gauge,
            MetricKind::Histogram(buckets) => Kind::Histogram(buckets.to_vec()),
        };
        let family = Family::new(kind, Opts::new(name, help).const_label(OWNER, owner), labels);
        // Checks the names.
        family.make(&vec![""; labels.len()])?;
        let metric = PluginMetric { key: key.clone(), family: Arc::new(family) };
        all.entry(key).or_default().push(Held { shape, metric: metric.clone(), holders: 1 });
        Ok(metric)
    }

    /// Releases a metric, once for each time it was registered. The last release removes it.
    pub(crate) fn unregister(&self, metric: &PluginMetric) {
        let mut all = self.held();
        let Some(held) = all.get_mut(&metric.key) else { return };
        if let Some(held) = held.iter_mut().find(|held| Arc::ptr_eq(&held.metric.family, &metric.family)) {
            held.holders -= 1;
        }
        held.retain(|held| held.holders > 0);
        if held.is_empty() {
            all.remove(&metric.key);
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(String, String), Vec<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a family, or its metrics to the family of the same name.
fn add(families: &mut BTreeMap<String, MetricFamily>, mut family: MetricFamily) {
    if family.get_metric().is_empty() {
        return;
    }
    match families.get_mut(family.name()) {
        Some(family_of_name) => family_of_name.mut_metric().extend(family.take_metric()),
        None => drop(families.insert(family.name().to_owned(), family)),
    }
}

impl Shape {
    fn of(kind: &MetricKind<'_>, labels: &[&str]) -> Self {
        let (kind, buckets) = match kind {
            MetricKind::Counter => (0, Vec::new()),
            MetricKind::Gauge => (1, Vec::new()),
            MetricKind::Histogram(buckets) => (2, buckets.to_vec()),
        };
        Self { kind, buckets, labels: labels.iter().map(|label| (*label).to_owned()).collect() }
    }
}

impl PluginMetric {
    /// Adds to a counter, sets a gauge, or observes in a histogram. A wrong number of labels is ignored.
    pub(crate) fn record(&self, labels: &[&str], value: f64) {
        let mut values = [""; 16];
        if labels.len() != self.family.labels() || labels.len() > values.len() || !value.is_finite() {
            return;
        }
        let values = &mut values[..labels.len()];
        values.copy_from_slice(labels);
        match self.family.series(values) {
            Some(Series::Counter(series)) if value >= 0.0 => series.inc_by(value),
            Some(Series::Gauge(series)) => series.set(value),
            Some(Series::Histogram(series)) => series.observe(value),
            Some(Series::Counter(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        family::{MAX_LABEL_VALUES, MAX_SERIES},
        *,
    };

    #[test]
    fn label_values_are_bounded() {
        let metrics = Metrics::default();
        let metric = metrics.register("m", &MetricKind::Counter, "calls_total", "Calls", &["model"]);
        let metric = metric.expect("registered");
        for at in 0..MAX_LABEL_VALUES + 10 {
            metric.record(&[&format!("model-{at}")], 1.0);
        }
        let text = metrics.render(Vec::new());
        assert!(text.contains("calls_total{model=\"other\",plugin=\"m\"} 10"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("calls_total")).count(), MAX_LABEL_VALUES + 1);
    }

    #[test]
    fn label_values_that_read_the_same_together_are_two_series() {
        let metrics = Metrics::default();
        let metric = metrics.register("m", &MetricKind::Counter, "calls_total", "Calls", &["a", "b"]);
        let metric = metric.expect("registered");
        metric.record(&["1", "23"], 1.0);
        metric.record(&["12", "3"], 2.0);
        let text = metrics.render(Vec::new());
        for line in [r#"{a="1",b="23",plugin="m"} 1"#, r#"{a="12",b="3",plugin="m"} 2"#] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn series_are_bounded_and_not_only_the_values_of_each_label() {
        let metrics = Metrics::default();
        let metric = metrics.register("m", &MetricKind::Counter, "calls_total", "Calls", &["a", "b"]);
        let metric = metric.expect("registered");
        for a in 0..200 {
            for b in 0..200 {
                metric.record(&[&a.to_string(), &b.to_string()], 1.0);
            }
        }
        metric.record(&["0", "0"], 1.0);
        let text = metrics.render(Vec::new());
        assert_eq!(text.lines().filter(|line| line.starts_with("calls_total")).count(), MAX_SERIES + 1);
        assert!(text.contains("calls_total{a=\"0\",b=\"0\",plugin=\"m\"} 2"), "an early series goes on");
        assert!(
            text.contains("calls_total{a=\"other\",b=\"other\",plugin=\"m\"} 30000"),
            "the rest is counted"
        );
    }

    #[test]
    fn a_name_of_the_hosts_own_metrics_is_refused() {
        let metrics = Metrics::default();
        let taken = |name| metrics.register("m", &MetricKind::Gauge, name, "Mine", &[]).is_ok();
        assert!(!taken("llmux_plugin_info") && !taken("llmux_hook_duration_seconds_count"));
        assert!(taken("llmux_requests"), "others that begin as the built-ins' do are free");
    }

    #[test]
    fn two_instances_may_register_the_same_metric_and_each_removes_its_own() {
        let metrics = Metrics::default();
        let register = |owner| metrics.register(owner, &MetricKind::Gauge, "depth", "Depth", &[]);
        let (a, b) = (register("a").expect("registered"), register("b").expect("registered"));
        a.record(&[], 1.0);
        b.record(&[], 2.0);
        metrics.unregister(&a);
        let text = metrics.render(Vec::new());
        assert!(!text.contains("plugin=\"a\"") && text.contains("depth{plugin=\"b\"} 2"), "{text}");
        assert!(register("a").is_ok(), "the name is free again");
    }

    #[test]
    fn d3_a_generation_that_fails_gives_back_the_place_of_a_metric_of_another_shape() {
        let metrics = Metrics::default();
        let register = |labels: &[&str]| {
            metrics.register("a", &MetricKind::Counter, "n_total", "N", labels).expect("registered")
        };
        let old = register(&[]);
        old.record(&[], 1.0);
        let new = register(&["model"]);
        metrics.unregister(&new);
        old.record(&[], 1.0);
        let text = metrics.render(Vec::new());
        assert!(text.contains("n_total{plugin=\"a\"} 2"), "the old one is shown again: {text}");
        metrics.unregister(&old);
        assert_eq!(metrics.render(Vec::new()), "");
    }

    #[test]
    fn d4_two_generations_of_an_instance_share_a_metric_until_both_are_gone() {
        let metrics = Metrics::default();
        let register =
            || metrics.register("a", &MetricKind::Counter, "n_total", "N", &[]).expect("registered");
        let old = register();
        old.record(&[], 1.0);
        let new = register();
        new.record(&[], 1.0);
        metrics.unregister(&old);
        let text = metrics.render(Vec::new());
        assert!(text.contains("n_total{plugin=\"a\"} 2"), "{text}");
        metrics.unregister(&new);
        assert_eq!(metrics.render(Vec::new()), "");
    }

    #[test]
    fn d4_a_new_generations_metric_of_another_shape_takes_the_old_ones_place() {
        let metrics = Metrics::default();
        let old = metrics.register("a", &MetricKind::Counter, "n_total", "N", &["l"]).expect("registered");
        old.record(&["x"], 1.0);
        let new = metrics.register("a", &MetricKind::Gauge, "n_total", "N", &[]).expect("registered");
        new.record(&[], 5.0);
        old.record(&["x"], 1.0);
        metrics.unregister(&old);
        let text = metrics.render(Vec::new());
        assert!(text.contains("n_total{plugin=\"a\"} 5") && !text.contains("l=\"x\""), "{text}");
        metrics.unregister(&new);
        assert_eq!(metrics.render(Vec::new()), "");
    }

    #[test]
    fn two_plugins_share_a_name_with_labels_of_their_own_and_one_kind() {
        let metrics = Metrics::default();
        let a = metrics.register("a", &MetricKind::Counter, "x_total", "X", &["l"]).expect("registered");
        let b = metrics.register("b", &MetricKind::Counter, "x_total", "Y", &[]).expect("registered");
        a.record(&["1"], 1.0);
        b.record(&[], 2.0);
        let text = metrics.render(Vec::new());
        assert_eq!(text.matches("# TYPE x_total counter").count(), 1, "{text}");
        assert!(text.contains("x_total{l=\"1\",plugin=\"a\"} 1") && text.contains("x_total{plugin=\"b\"} 2"));
        assert!(metrics.register("c", &MetricKind::Gauge, "x_total", "X", &[]).is_err(), "another kind");
        assert!(metrics.register("c", &MetricKind::Counter, "not a name", "X", &[]).is_err());
    }
}
