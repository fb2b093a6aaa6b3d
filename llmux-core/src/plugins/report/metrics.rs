//! The host's own metrics, made anew whenever somebody asks: what the registry counts, in Prometheus' terms.
//!
//! `Client::metrics` calls it. It keeps nothing.

use std::collections::{BTreeSet, HashSet};

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::info::{PluginInfo, RetiredImages};
use crate::metrics::RESERVED;

/// The host's own metrics, as they are now.
pub(crate) fn families(
    plugins: &[PluginInfo],
    retired: RetiredImages,
    refused: u64,
    dropped_completions: u64,
    dropped_headers: u64,
) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let mut add = |kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>| {
        debug_assert!(RESERVED.iter().any(|own| name.starts_with(own)), "`{name}` is not reserved");
        if !metrics.is_empty() {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics);
            families.push(family);
        }
    };
    // Two generations of an instance count together, and a label's value is there once: the first of a name is enough.
    let mut names = HashSet::new();
    let counted: Vec<_> = plugins.iter().filter(|plugin| names.insert(&plugin.name)).collect();
    let hooks = || counted.iter().flat_map(|plugin| plugin.hooks.iter().map(move |hook| (plugin, hook)));
    let counter = |labels: &[(&str, &str)], value: f64| {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut metric = labeled(labels);
        metric.set_counter(counter);
        metric
    };
    let gauge = |labels: &[(&str, &str)], value: f64| {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        let mut metric = labeled(labels);
        metric.set_gauge(gauge);
        metric
    };
    let failures = hooks().flat_map(|(plugin, hook)| {
        let errors = hook.failures - hook.timeouts - hook.panics - hook.crashes;
        let kinds = [
            ("error", errors),
            ("timeout", hook.timeouts),
            ("panic", hook.panics),
            ("crashed", hook.crashes),
        ];
        kinds.map(|(kind, count)| {
            counter(&[("plugin", &plugin.name), ("hook", hook.hook), ("kind", kind)], count as f64)
        })
    });
    add(MetricType::COUNTER, "llmux_hook_failures_total", "Hook calls that failed", failures.collect());
    let durations = hooks().map(|(plugin, hook)| {
        let mut summary = proto::Summary::default();
        summary.set_sample_count(hook.calls);
        summary.set_sample_sum(hook.total_us / 1e6);
        summary.set_quantile(
            [(0.5, hook.p50_us), (0.99, hook.p99_us)]
                .map(|(quantile, micros)| {
                    let mut place = proto::Quantile::default();
                    place.set_quantile(quantile);
                    place.set_value(micros / 1e6);
                    place
                })
                .to_vec(),
        );
        let mut metric = labeled(&[("plugin", &plugin.name), ("hook", hook.hook)]);
        metric.set_summary(summary);
        metric
    });
    add(MetricType::SUMMARY, "llmux_hook_duration_seconds", "How long hook calls took", durations.collect());
    let labels = plugins.iter().map(|plugin| {
        let version = plugin.version.as_deref().unwrap_or_default();
        [
            ("plugin", &*plugin.name),
            ("manifest", &plugin.plugin),
            ("version", version),
            ("state", plugin.state.as_str()),
        ]
    });
    let labels: BTreeSet<_> = labels.collect();
    let instances = labels.iter().map(|labels| gauge(labels, 1.0));
    add(MetricType::GAUGE, "llmux_plugin_info", "The instances there are", instances.collect());
    let children: Vec<_> =
        counted.iter().filter_map(|plugin| Some((&*plugin.name, plugin.process.as_ref()?))).collect();
    let states =
        children.iter().map(|(plugin, child)| gauge(&[("plugin", plugin), ("state", child.state)], 1.0));
    add(
        MetricType::GAUGE,
        "llmux_plugin_child_info",
        "The states of the child processes of isolated plugins",
        states.collect(),
    );
    let deaths = children.iter().flat_map(|(plugin, child)| {
        child
            .deaths
            .iter()
            .map(move |(reason, count)| counter(&[("plugin", plugin), ("reason", reason)], *count as f64))
    });
    add(
        MetricType::COUNTER,
        "llmux_plugin_child_deaths_total",
        "Deaths of the child processes of isolated plugins",
        deaths.collect(),
    );
    let memory = children.iter().map(|(plugin, child)| gauge(&[("plugin", plugin)], child.memory as f64));
    add(
        MetricType::GAUGE,
        "llmux_plugin_child_memory_bytes",
        "Memory of the child processes of isolated plugins, without pages of files",
        memory.collect(),
    );
    let cpu = children.iter().map(|(plugin, child)| counter(&[("plugin", plugin)], child.cpu_seconds));
    add(
        MetricType::COUNTER,
        "llmux_plugin_child_cpu_seconds_total",
        "Time of the processor of the child processes of isolated plugins",
        cpu.collect(),
    );
    add(
        MetricType::GAUGE,
        "llmux_retired_images",
        "Images that no instance uses any more",
        vec![gauge(&[], retired.count as f64)],
    );
    add(
        MetricType::GAUGE,
        "llmux_retired_image_bytes",
        "The size of their files",
        vec![gauge(&[], retired.bytes as f64)],
    );
    add(
        MetricType::COUNTER,
        "llmux_plugin_refusals_total",
        "Loads and reloads of libraries that were refused",
        vec![counter(&[], refused as f64)],
    );
    let refused_files = plugins.iter().filter(|plugin| plugin.error.is_some()).count();
    add(
        MetricType::GAUGE,
        "llmux_plugin_refused_files",
        "Files of plugins that are refused now",
        vec![gauge(&[], refused_files as f64)],
    );
    add(
        MetricType::COUNTER,
        "llmux_dropped_completions_total",
        "Requests whose on_complete hooks were dropped, since too many waited",
        vec![counter(&[], dropped_completions as f64)],
    );
    add(
        MetricType::COUNTER,
        "llmux_dropped_response_headers_total",
        "Response headers that were set after an early head",
        vec![counter(&[], dropped_headers as f64)],
    );
    families
}

fn labeled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}
