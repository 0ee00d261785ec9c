//! The text in which Prometheus reads metrics: OpenMetrics, or the older text format of Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::family::{Family, Kind};
use super::sample::{Sample, Value};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

impl Exposition {
    /// The format for a client with this `Accept`.
    #[must_use]
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            Some(_) | None => Self::Prometheus,
        }
    }

    /// Its media type.
    #[must_use]
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes samples, each family once and in the order of its declaration. A family without a sample is left out.
#[must_use]
pub(crate) fn write(mut samples: Vec<Sample>, format: Exposition) -> String {
    samples.sort_by_key(|sample| sample.family);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Samples(samples)));
    let mut out = String::new();
    // A string takes everything.
    let _ = text::encode(&mut out, &registry);
    match format {
        Exposition::OpenMetrics => out,
        Exposition::Prometheus => as_prometheus(&out),
    }
}

#[derive(Debug)]
struct Samples(Vec<Sample>);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.chunk_by(|one, other| one.family == other.family) {
            let Some(first) = family.first() else { continue };
            encode(first.family, family, &mut encoder)?;
        }
        Ok(())
    }
}

fn encode(family: Family, samples: &[Sample], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let description = family.description();
    let kind = match description.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let mut metrics = encoder.encode_descriptor(description.name, description.help, None, kind)?;
    for sample in samples {
        let labels: Vec<(&str, &str)> =
            description.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
        if labels.is_empty() {
            encode_value(&sample.value, description.kind, &mut metrics)?;
        } else {
            encode_value(&sample.value, description.kind, &mut metrics.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_value(value: &Value, kind: Kind, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match (value, kind) {
        (Value::Number(number), Kind::Counter) => metric.encode_counter::<NoLabelSet, f64, f64>(number, None),
        (Value::Number(number), Kind::Gauge | Kind::Histogram) => metric.encode_gauge(number),
        (Value::Durations(counted), _) => {
            metric.encode_histogram::<NoLabelSet>(counted.sum, counted.count, &counted.buckets, None)
        }
    }
}

/// Turns OpenMetrics into the older format: there the family of a counter has the name of its samples, and the end has no mark.
/// Only lines that begin with `#` differ.
fn as_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let counters: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
        match described.and_then(|(mark, rest)| Some((mark, rest.split_once(' ')?))) {
            Some((mark, (name, rest))) if counters.contains(&name) => {
                out.extend([mark, name, "_total ", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
