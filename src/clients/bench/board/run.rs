//! What all connections of a load share: the clock, what is published and when, and what is
//! counted.

use super::Plan;
use super::stats::Stats;
use super::wire::{Info, Messages};
use crate::client::escaped;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

/// What is published and not written yet: more would only wait here, and that would show as
/// latency.
pub const MAX_UNWRITTEN_BYTES: usize = 64 << 10;
/// As much of a server's name and version is shown.
const MAX_NAME_CHARS: usize = 64;

/// What all connections share.
pub struct Run {
    pub server: SocketAddr,
    pub topic: String,
    pub message_bytes: usize,
    pub timeout_ns: u64,
    /// When the run is over whatever the server does, in nanoseconds since it began.
    pub give_up_ns: u64,
    /// How many messages have been published.
    pub published: u64,
    pub messages: Messages,
    pub stats: Stats,
    began: Instant,
    /// When each message of the window was published, by its number modulo the window.
    times: Vec<u64>,
}

impl Run {
    pub fn new(plan: &Plan) -> Result<Run, String> {
        let mark = RandomState::new().hash_one(0);
        Ok(Run {
            server: plan.server,
            topic: plan.topic.clone(),
            message_bytes: plan.message_bytes,
            timeout_ns: plan.timeout_ns(),
            give_up_ns: plan.timeout_ns(),
            published: 0,
            messages: Messages::new(&plan.topic, plan.message_bytes, mark),
            stats: Stats::new()?,
            began: Instant::now(),
            times: vec![0; plan.window],
        })
    }

    /// The run's one clock: nanoseconds since it began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// All are connected: the clock starts again.
    pub fn begin(&mut self, plan: &Plan) {
        self.began = Instant::now();
        self.give_up_ns = plan.end_ns() + plan.timeout_ns();
        self.stats.window_ns = (plan.warmup_ns(), plan.end_ns());
    }

    /// The next message is published now.
    pub fn note_time(&mut self, now: u64) {
        let window = self.times.len() as u64;
        self.times[(self.published % window) as usize] = now;
    }

    /// When a message was published; none for one that should be long gone, which only comes when
    /// the server said that it was lost.
    pub fn published_at(&self, number: u64) -> Option<u64> {
        let window = self.times.len() as u64;
        let is_known = self.published - number <= window;
        is_known.then(|| self.times[(number % window) as usize])
    }

    /// Keeps the server's name and version for the report.
    pub fn note_server(&mut self, info: &Info) {
        if self.stats.server_name.is_empty() {
            let name: String = [&info.server_name, " ", &info.version]
                .into_iter()
                .flat_map(|text| text.chars())
                .collect();
            let short: String = name.trim().chars().take(MAX_NAME_CHARS).collect();
            self.stats.server_name = escaped(short.as_bytes());
        }
    }
}
