//! What is counted while the load runs, and how it is shown afterwards.

use super::Plan;
use super::process::{Resident, Usage};
use crate::clients::bench::stats::{Errors, LATENCY_HEAD, Latency, Troubles, histogram};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// From so many cores on, this load, which has one thread, holds the server up.
const BUSY_CORES: f64 = 0.9;

/// The counters of a run.
pub struct Stats {
    latencies: Histogram<u64>,
    deliveries: u64,
    publications: u64,
    /// Deliveries from the beginning.
    pub total_deliveries: u64,
    /// Gaps in the numbers that subscribers got, and what is told to be lost behind the last.
    pub lost: u64,
    /// What the server said of its own accord that it did not deliver.
    pub told_lost: u64,
    /// Messages with a number that is not above the one before.
    pub out_of_order: u64,
    /// Deliveries that were still to come when the run stopped.
    pub in_flight: u64,
    pub troubles: Troubles,
    /// What counts: from the beginning of the run.
    pub window_ns: (u64, u64),
    /// At both ends of that.
    pub samples: Vec<Sample>,
    /// Whether the run reached its end.
    pub whole: bool,
    /// As it calls itself, escaped.
    pub server_name: String,
}

/// What was used up to a moment.
pub struct Sample {
    pub at_ns: u64,
    pub deliveries: u64,
    pub own_cpu_s: f64,
    pub server: Option<Usage>,
}

impl Stats {
    pub fn new() -> Result<Stats, String> {
        Ok(Stats {
            latencies: histogram()?,
            deliveries: 0,
            publications: 0,
            total_deliveries: 0,
            lost: 0,
            told_lost: 0,
            out_of_order: 0,
            in_flight: 0,
            troubles: Troubles::default(),
            window_ns: (0, 0),
            samples: Vec::new(),
            whole: false,
            server_name: String::new(),
        })
    }

    /// A message was published.
    pub fn published(&mut self, now_ns: u64) {
        self.publications += u64::from(self.counts(now_ns));
    }

    /// A subscriber got a message, of which may be known when it was published.
    pub fn delivered(&mut self, published_ns: Option<u64>, now_ns: u64) {
        self.total_deliveries += 1;
        if self.counts(now_ns) {
            self.deliveries += 1;
            if let Some(published_ns) = published_ns {
                self.latencies.saturating_record(now_ns.saturating_sub(published_ns).max(1));
            }
        }
    }

    fn counts(&self, now_ns: u64) -> bool {
        (self.window_ns.0..self.window_ns.1).contains(&now_ns)
    }

    /// The run is over.
    pub fn report<'a>(&'a self, plan: &'a Plan) -> Report<'a> {
        let ns = self.window_ns.1.saturating_sub(self.window_ns.0);
        let seconds = ns as f64 / 1e9;
        let per_s = |count: u64| if ns == 0 { 0.0 } else { count as f64 / seconds };
        let (generator, server) = match &self.samples[..] {
            [from, to] => (Some(Generator::of(from, to)), Server::of(from, to)),
            _ => (None, None),
        };
        Report {
            deliveries: self.deliveries,
            deliveries_per_s: per_s(self.deliveries),
            publications: self.publications,
            publications_per_s: per_s(self.publications),
            latency: Latency::of(&self.latencies),
            lost: self.lost,
            told_lost: self.told_lost,
            out_of_order: self.out_of_order,
            in_flight: self.in_flight,
            errors: self.troubles.errors(),
            whole: self.whole,
            measured_s: seconds,
            generator,
            server,
            server_name: &self.server_name,
            parameters: plan,
        }
    }
}

/// The run's result.
#[derive(Serialize)]
pub struct Report<'a> {
    deliveries: u64,
    deliveries_per_s: f64,
    publications: u64,
    publications_per_s: f64,
    latency: Option<Latency>,
    lost: u64,
    told_lost: u64,
    out_of_order: u64,
    in_flight: u64,
    errors: Errors<'a>,
    whole: bool,
    measured_s: f64,
    generator: Option<Generator>,
    server: Option<Server>,
    server_name: &'a str,
    parameters: &'a Plan,
}

impl Report<'_> {
    /// Whether the run went as it must.
    pub fn is_good(&self) -> bool {
        self.whole && self.deliveries > 0 && self.out_of_order == 0
    }
}

/// What this load used.
#[derive(Serialize)]
struct Generator {
    generator_cores: f64,
    is_the_limit: bool,
}

impl Generator {
    fn of(from: &Sample, to: &Sample) -> Generator {
        let generator_cores = cores(to.own_cpu_s - from.own_cpu_s, from, to);
        Generator { generator_cores, is_the_limit: generator_cores >= BUSY_CORES }
    }
}

/// What the server used.
#[derive(Serialize)]
struct Server {
    cpu_s: f64,
    server_cores: f64,
    /// None without deliveries.
    cpu_s_per_million: Option<f64>,
    #[serde(flatten)]
    resident: Resident,
}

impl Server {
    fn of(from: &Sample, to: &Sample) -> Option<Server> {
        let (before, after) = (from.server?, to.server?);
        let cpu_s = after.cpu_s - before.cpu_s;
        let deliveries = to.deliveries - from.deliveries;
        Some(Server {
            cpu_s,
            server_cores: cores(cpu_s, from, to),
            cpu_s_per_million: (deliveries > 0).then(|| cpu_s * 1e6 / deliveries as f64),
            resident: after.resident,
        })
    }
}

fn cores(cpu_s: f64, from: &Sample, to: &Sample) -> f64 {
    let ns = to.at_ns.saturating_sub(from.at_ns).max(1);
    cpu_s / (ns as f64 / 1e9)
}

/// The report for people.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.parameters)?;
        if !self.server_name.is_empty() {
            write!(f, " ({})", self.server_name)?;
        }
        writeln!(f, "\n{:12}{:>12}{:>12}{LATENCY_HEAD}", "", "messages", "a second")?;
        let Report { publications, publications_per_s, deliveries, deliveries_per_s, .. } = self;
        writeln!(f, "published   {publications:>12}{publications_per_s:>12.0}")?;
        write!(f, "delivered   {deliveries:>12}{deliveries_per_s:>12.0}")?;
        match &self.latency {
            Some(latency) => writeln!(f, "{latency}")?,
            None => writeln!(f, "\nnothing was delivered in the measured time")?,
        }
        if let Some(Server { cpu_s, server_cores, cpu_s_per_million, resident }) = &self.server {
            write!(f, "the server: {server_cores:.2} cores, {cpu_s:.2} s of CPU time")?;
            if let Some(per_million) = cpu_s_per_million {
                write!(f, ", {per_million:.2} s a million deliveries")?;
            }
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (now, peak) = (mib(resident.rss_bytes), mib(resident.rss_peak_bytes));
            writeln!(f, "; {now:.1} MiB resident, {peak:.1} at its most")?;
        }
        if let Some(Generator { generator_cores, is_the_limit }) = self.generator {
            write!(f, "this load: {generator_cores:.2} cores, of the one that it can use")?;
            if is_the_limit {
                write!(f, ": IT IS THE LIMIT; the server may be faster than these numbers")?;
            }
            writeln!(f)?;
        }
        write!(f, "{}", self.errors)?;
        if !self.whole {
            let Report { measured_s, in_flight, .. } = self;
            writeln!(
                f,
                "STOPPED after {measured_s:.3} s of measuring, {in_flight} deliveries to come"
            )?;
        }
        let Report { lost, told_lost, out_of_order, .. } = self;
        write!(
            f,
            "lost {lost}, told to be lost {told_lost}, twice or out of order {out_of_order}"
        )?;
        f.write_str(if *out_of_order > 0 { ": THE SERVER IS WRONG" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            server: ([127, 0, 0, 1], 1).into(),
            subscribers: 1,
            not_reading: 0,
            window: 1,
            message_bytes: 16,
            topic: "t".into(),
            seconds: 1.0,
            warmup: 0.0,
            timeout_ms: 1,
            pid: None,
        }
    }

    fn sample(at_ns: u64, deliveries: u64, own_cpu_s: f64, cpu_s: f64) -> Sample {
        let resident = Resident { rss_bytes: 1 << 20, rss_peak_bytes: 3 << 20 };
        Sample { at_ns, deliveries, own_cpu_s, server: Some(Usage { cpu_s, resident }) }
    }

    #[test]
    fn only_what_comes_in_the_window_counts() {
        let mut stats = Stats::new().unwrap();
        stats.window_ns = (1_000, 2_000_001_000);
        for now in [999, 1_000, 2_000_000_999, 2_000_001_000] {
            stats.published(now);
            stats.delivered(Some(500), now);
        }
        stats.delivered(None, 1_500);
        let plan = plan();
        let report = stats.report(&plan);
        assert_eq!((report.publications, report.deliveries, stats.total_deliveries), (2, 3, 5));
        assert_eq!((report.publications_per_s, report.deliveries_per_s), (1.0, 1.5));
        assert!(report.latency.unwrap().p50_us < 1.0);
        assert!(!stats.report(&plan).is_good(), "it did not reach its end");
    }

    #[test]
    fn what_was_used_is_shown_and_the_load_says_when_it_is_the_limit() {
        let mut stats = Stats::new().unwrap();
        stats.samples = vec![sample(1_000, 10, 0.5, 2.0), sample(2_000_001_000, 500_010, 2.4, 3.0)];
        let plan = plan();
        let text = stats.report(&plan).to_string();
        let server =
            "0.50 cores, 1.00 s of CPU time, 2.00 s a million deliveries; 1.0 MiB resident, 3.0";
        assert!(text.contains(server), "{text}");
        assert!(
            text.contains("this load: 0.95 cores") && text.contains("IT IS THE LIMIT"),
            "{text}"
        );
        stats.samples[1].own_cpu_s = 2.0;
        assert!(!stats.report(&plan).to_string().contains("LIMIT"));
    }

    #[test]
    fn a_run_without_anything_divides_by_nothing() {
        let mut stats = Stats::new().unwrap();
        stats.samples = vec![sample(5, 0, 0.0, 0.0), sample(5, 0, 0.0, 0.0)];
        let plan = plan();
        let text = stats.report(&plan).to_string();
        assert!(text.contains("nothing was delivered") && !text.contains("NaN"), "{text}");
    }
}
