//! Names and help of what every process says of itself, whichever boxes it runs.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::{MetricType, info::Info},
    registry::{Registry, Unit},
};

use wire::Instances;

use crate::{Settings, clocks::Database, insecure::Switches, process::Usage, watch::Watch};

/// Registers `diptych_build_info`, `diptych_insecure_switch` and `process_*`.
pub(crate) fn register(application: &str, settings: &Settings, registry: &mut Registry) {
    let info =
        Info::new(vec![("application", application.to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())]);
    registry.register("diptych_build", "The application and the version of Diptych", info);
    registry.register_collector(Box::new(OfProcess));
    registry.register_collector(Box::new(Switches::of(settings)));
}

/// Registers `diptych_alert` and `diptych_storage_free_bytes`.
pub(crate) fn register_watch(watch: Arc<Watch>, registry: &mut Registry) {
    registry.register_collector(Box::new(watch));
}

/// Registers `diptych_clock_skew_seconds`, where there are others to compare clocks with.
pub(crate) fn register_peers(peers: Vec<Instances>, databases: Vec<Database>, registry: &mut Registry) {
    if !peers.is_empty() || !databases.is_empty() {
        registry.register_collector(Box::new(Peers(peers, databases)));
    }
}

/// Those that this process calls.
#[derive(Debug)]
struct Peers(Vec<Instances>, Vec<Database>);

impl Collector for Peers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How far the clock of a process or database that this one calls is ahead, of a process at least: its \
                    answers tell the second";
        let mut family =
            encoder.encode_descriptor("diptych_clock_skew", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        let instances = self.0.iter().flat_map(|instances| instances.known().to_vec());
        let of_instances = instances.map(|instance| (instance.address().to_string(), instance.skew().get()));
        let of_databases = self.1.iter().map(|database| (database.name().to_owned(), database.skew().get()));
        for (peer, skew) in of_instances.chain(of_databases) {
            if let Some(skew) = skew {
                family.encode_family(&[("peer", peer)])?.encode_gauge(&skew.as_secs_f64())?;
            }
        }
        Ok(())
    }
}

/// The names and units that Prometheus's guidelines for client libraries give them. What the system does not tell is left
/// out.
#[derive(Debug)]
struct OfProcess;

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = Usage::now();
        if let Some(seconds) = usage.cpu_seconds {
            let help = "Total user and system CPU time spent in seconds";
            let mut metric =
                encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        if let Some(seconds) = usage.started_seconds {
            let help = "Start time of the process since unix epoch in seconds";
            let mut metric =
                encoder.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?;
            metric.encode_gauge(&seconds)?;
        }
        for (name, help, unit, value) in [
            ("process_resident_memory", "Resident memory size in bytes", Some(&Unit::Bytes), usage.resident_bytes),
            ("process_virtual_memory", "Virtual memory size in bytes", Some(&Unit::Bytes), usage.virtual_bytes),
            ("process_open_fds", "Number of open file descriptors", None, usage.open_files),
            ("process_max_fds", "Maximum number of open file descriptors", None, usage.open_files_max),
        ] {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&whole(value))?;
            }
        }
        Ok(())
    }
}

impl Collector for Watch {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let watched = self.look();
        let help = "1 while something is so that a person has to know of";
        let mut alerts = encoder.encode_descriptor("diptych_alert", help, None, MetricType::Gauge)?;
        // One that is not raised is a zero, so that it can be seen to be watched.
        for (alert, is_raised) in watched.alerts {
            let labels = [("alert", alert.name()), ("severity", alert.severity())];
            alerts.encode_family(&labels)?.encode_gauge(&i64::from(is_raised))?;
        }
        let help = "Space left on the file system of a database";
        let mut free =
            encoder.encode_descriptor("diptych_storage_free", help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for of_store in watched.storage {
            if let Some(bytes) = of_store.free_bytes {
                free.encode_family(&[("store", of_store.store)])?.encode_gauge(&whole(bytes))?;
            }
        }
        Ok(())
    }
}

/// As the encoder takes it. Nothing here comes near the limit.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
