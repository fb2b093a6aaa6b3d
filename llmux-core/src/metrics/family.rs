//! The series of one metric, bounded in number.
//!
//! `metrics` has one [`Family`] for each metric that a plugin registers. Deliberately absent: the owners of metrics.

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{PoisonError, RwLock},
};

use prometheus::{Counter, Gauge, Histogram, HistogramOpts, Opts, core::Collector, proto::MetricFamily};

/// Maximum number of distinct values of one label.
pub(super) const MAX_LABEL_VALUES: usize = 1000;
/// Maximum number of series of one metric: of distinct sets of its label values.
pub(super) const MAX_SERIES: usize = 10_000;
/// The label value that replaces every further value.
const OTHER: &str = "other";

/// The series of a metric.
///
/// Not a `MetricVec` of `prometheus`: it hashes the label values without a separator, so that the series of `1` and `23`
/// is also that of `12` and `3`.
pub(super) struct Family {
    kind: Kind,
    opts: Opts,
    labels: Vec<String>,
    /// The values that each label keeps.
    values: Vec<RwLock<HashSet<Box<str>>>>,
    /// The series, by the hashes of their label values. The hashes are keyed, so that a client cannot choose values of one
    /// hash. A `HashMap` would hash the hash once more.
    series: RwLock<BTreeMap<u64, Series>>,
    hasher: RandomState,
}

pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets; without any, it has the default buckets.
    Histogram(Vec<f64>),
}

#[derive(Clone)]
pub(super) enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Family {
    pub(super) fn new(kind: Kind, opts: Opts, labels: &[&str]) -> Self {
        Self {
            kind,
            opts,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            values: labels.iter().map(|_| RwLock::default()).collect(),
            series: RwLock::default(),
            hasher: RandomState::new(),
        }
    }

    /// Returns the number of labels.
    pub(super) fn labels(&self) -> usize {
        self.labels.len()
    }

    /// Makes a series with these label values.
    pub(super) fn make(&self, values: &[&str]) -> Result<Series, prometheus::Error> {
        let mut opts = self.opts.clone();
        for (label, value) in self.labels.iter().zip(values) {
            if opts.const_labels.insert(label.clone(), (*value).to_owned()).is_some() {
                return Err(prometheus::Error::Msg(format!("the label `{label}` is there twice")));
            }
        }
        Ok(match &self.kind {
            Kind::Counter => Series::Counter(Counter::with_opts(opts)?),
            Kind::Gauge => Series::Gauge(Gauge::with_opts(opts)?),
            Kind::Histogram(buckets) => {
                let mut opts = HistogramOpts::from(opts);
                if !buckets.is_empty() {
                    opts.buckets = buckets.clone();
                }
                Series::Histogram(Histogram::with_opts(opts)?)
            }
        })
    }

    /// Returns the series of these label values. If there is no room for another, it is the series of `other`.
    pub(super) fn series(&self, values: &mut [&str]) -> Option<Series> {
        // A series exists only under values that their labels keep.
        if let Some(series) = self.existing(self.hasher.hash_one(&*values)) {
            return Some(series);
        }
        for (value, kept) in values.iter_mut().zip(&self.values) {
            if !keep(kept, value) {
                *value = OTHER;
            }
        }
        let place = self.hasher.hash_one(&*values);
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let place = if all.len() < MAX_SERIES || all.contains_key(&place) {
            place
        } else {
            values.fill(OTHER);
            self.hasher.hash_one(&*values)
        };
        match all.entry(place) {
            Entry::Occupied(series) => Some(series.get().clone()),
            Entry::Vacant(vacant) => Some(vacant.insert(self.make(values).ok()?).clone()),
        }
    }

    fn existing(&self, place: u64) -> Option<Series> {
        self.series.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned()
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        all.values().flat_map(Series::collect).collect()
    }
}

impl Series {
    fn collect(&self) -> Vec<MetricFamily> {
        match self {
            Series::Counter(series) => series.collect(),
            Series::Gauge(series) => series.collect(),
            Series::Histogram(series) => series.collect(),
        }
    }
}

/// Keeps a value of a label, if there is room. Returns true if the value is kept.
fn keep(kept: &RwLock<HashSet<Box<str>>>, value: &str) -> bool {
    if value.len() > 256 {
        return false;
    }
    if kept.read().unwrap_or_else(PoisonError::into_inner).contains(value) {
        return true;
    }
    let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= MAX_LABEL_VALUES {
        return kept.contains(value);
    }
    kept.insert(value.into());
    true
}
