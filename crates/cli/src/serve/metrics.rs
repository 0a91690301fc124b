//! Figures for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::queue::Queue;

/// Upper bounds of the classes of durations, seconds.
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    durations: Mutex<BTreeMap<&'static str, Durations>>,
    audio_millis: AtomicU64,
    windows: AtomicU64,
    panics: AtomicU64,
    pub connections: AtomicU64,
}

#[derive(Default)]
struct Durations {
    classes: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    /// A request to a route was answered.
    pub fn answered(&self, route: &'static str, status: u16, duration: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, status)).or_default() += 1;
        drop(requests);
        let seconds = duration.as_secs_f64();
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let of_route = durations.entry(route).or_default();
        of_route.count += 1;
        of_route.sum += seconds;
        if let Some(class) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            of_route.classes[class] += 1;
        }
    }

    /// A sound was heard.
    pub fn heard(&self, seconds: f64, windows: usize) {
        self.audio_millis
            .fetch_add((seconds * 1e3) as u64, Ordering::Relaxed);
        self.windows.fetch_add(windows as u64, Ordering::Relaxed);
    }

    /// A request met a fault of the program.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it as text.
    pub fn text(&self, queue: &Queue, ready: bool) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: String| {
            let _ = write!(
                out,
                "# HELP messymash_{name} {help}\n# TYPE messymash_{name} {kind}\n{lines}"
            );
        };
        let one = |name: &str, value: f64| format!("messymash_{name} {value}\n");
        let mut lines = String::new();
        for ((route, status), n) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(
                lines,
                "messymash_requests_total{{route=\"{route}\",status=\"{status}\"}} {n}"
            );
        }
        family("requests_total", "counter", "Requests answered.", lines);
        let mut lines = String::new();
        for (route, durations) in &*self.durations.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut sum = 0;
            for (bound, n) in BOUNDS.iter().zip(durations.classes) {
                sum += n;
                let _ = writeln!(
                    lines,
                    "messymash_request_duration_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {sum}"
                );
            }
            let Durations { count, sum, .. } = durations;
            let _ = write!(
                lines,
                "messymash_request_duration_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}\n\
                 messymash_request_duration_seconds_sum{{route=\"{route}\"}} {sum}\n\
                 messymash_request_duration_seconds_count{{route=\"{route}\"}} {count}\n"
            );
        }
        let help = "From the head of a request to the head of its answer.";
        family("request_duration_seconds", "histogram", help, lines);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        for (name, kind, help, value) in [
            (
                "audio_seconds_total",
                "counter",
                "Sound heard.",
                load(&self.audio_millis) / 1e3,
            ),
            (
                "windows_total",
                "counter",
                "Windows of sound heard.",
                load(&self.windows),
            ),
            (
                "panics_total",
                "counter",
                "Requests that met a fault of the program.",
                load(&self.panics),
            ),
            (
                "connections",
                "gauge",
                "Open connections.",
                load(&self.connections),
            ),
            (
                "queue_taken",
                "gauge",
                "Places taken: bodies being read, waiting, being heard.",
                queue.taken() as f64,
            ),
            (
                "queue_waiting",
                "gauge",
                "Requests that wait for a worker.",
                queue.waiting() as f64,
            ),
            (
                "queue_running",
                "gauge",
                "Requests being heard.",
                queue.running() as f64,
            ),
            (
                "ready",
                "gauge",
                "1 if requests are accepted.",
                f64::from(u8::from(ready)),
            ),
        ] {
            family(name, kind, help, one(name, value));
        }
        if let Some((memory, descriptors)) = process() {
            let help = "Memory of the process.";
            family(
                "resident_memory_bytes",
                "gauge",
                help,
                one("resident_memory_bytes", memory),
            );
            let help = "Open file descriptors.";
            family(
                "open_descriptors",
                "gauge",
                help,
                one("open_descriptors", descriptors),
            );
        }
        out
    }
}

/// Resident memory in bytes and open descriptors, where the system tells (Linux).
fn process() -> Option<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((kib * 1024.0, descriptors as f64))
}
