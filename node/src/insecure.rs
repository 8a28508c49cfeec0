//! Switches that make a process less safe. Whoever sets one is told at each start, and sees it among the metrics.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::Settings;

/// Each switch, and whether it is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switches([(&'static str, bool); 1]);

impl Switches {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self([("insecure_no_authentication", settings.insecure_no_authentication)])
    }

    /// To be called at each start.
    pub(crate) fn warn(self) {
        for (switch, _) in self.0.iter().filter(|(_, is_set)| *is_set) {
            tracing::warn!(switch, "this process is less safe than it could be: a switch is set");
        }
    }
}

impl Collector for Switches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 while a switch is set that makes the process less safe";
        let mut family = encoder.encode_descriptor("diptych_insecure_switch", help, None, MetricType::Gauge)?;
        // One that is not set is a zero, so that it can be seen to be watched.
        for (name, is_set) in self.0 {
            ConstGauge::new(i64::from(is_set)).encode(family.encode_family(&[("name", name)])?)?;
        }
        Ok(())
    }
}
