//! Limits: how much one request, and all of them together, may ask for.

use std::time::Duration;

use messymash::audio::AudioLimits;

const MIB: usize = 1 << 20;

#[derive(Debug, Clone, clap::Args)]
pub struct Limits {
    /// Largest sound file, MiB (as base64 in JSON, four thirds of it)
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2048))]
    max_body: u32,
    /// Longest sound, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800.0, value_parser = positive)]
    pub max_seconds: f64,
    /// Sounds heard at once. Left out: as many as there are cores in use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Requests that may wait for a worker; further ones are refused with 429 before their bodies are read
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub max_queue: u16,
    /// Longest wait for a worker, seconds; then 429
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    queue_timeout: f64,
    /// Memory that the bodies of all requests may take together, with their copies, MiB; never less than one of the largest takes
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    max_memory: u32,
    /// Open connections; further ones wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// Open connections of one address (in IPv6 of one /64 network); further ones are refused with 429. Left out: no limit, as it must be
    /// behind a proxy, from which all connections come
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections_per_address: Option<u16>,
    /// Longest wait for the head of a request, also between two of one connection, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    header_timeout: f64,
    /// Longest pause within a body, or of a client that does not read its answer, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0, value_parser = positive)]
    idle_timeout: f64,
    /// Longest time for a whole body, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0, value_parser = positive)]
    body_timeout: f64,
    /// Longest time from a whole body to its answer, seconds; then 504
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    deadline: f64,
    /// Longest time that work may go on after SIGTERM, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = positive)]
    drain_timeout: f64,
}

/// KiB that a body of `bytes` takes at most, with its copies: the decoder has one of its own; JSON is taken apart into its
/// text and what three quarters of that stand for, before it goes.
pub fn reserved_kib(is_json: bool, bytes: usize) -> u32 {
    let with_copies = if is_json {
        bytes.saturating_mul(11) / 4
    } else {
        bytes.saturating_mul(2)
    };
    with_copies.div_ceil(1024).min(u32::MAX as usize) as u32
}

/// Seconds above zero, up to a day.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("it must be a number above 0 and at most 86400".into()),
    }
}

impl Limits {
    /// Bytes of the largest sound file.
    pub fn body(&self) -> usize {
        self.max_body as usize * MIB
    }

    /// Bytes of the largest body of a type: base64 takes four thirds, JSON a little more.
    pub fn body_of(&self, is_json: bool) -> usize {
        if is_json {
            self.body() / 3 * 4 + (64 << 10)
        } else {
            self.body() + (64 << 10)
        }
    }

    /// KiB of all bodies together: at least one of the largest of each type fits.
    pub fn memory_kib(&self) -> u32 {
        let largest = [true, false].map(|is_json| reserved_kib(is_json, self.body_of(is_json)));
        largest
            .into_iter()
            .fold(self.max_memory.saturating_mul(1024), u32::max)
    }

    pub fn audio(&self) -> AudioLimits {
        AudioLimits {
            max_seconds: Some(self.max_seconds),
            ..AudioLimits::default()
        }
    }

    pub fn queue_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.queue_timeout)
    }
    pub fn header_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.header_timeout)
    }
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.idle_timeout)
    }
    pub fn body_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.body_timeout)
    }
    pub fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.deadline)
    }
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.drain_timeout)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: Limits,
    }

    #[test]
    fn one_of_the_largest_bodies_always_fits() {
        for body in ["1", "64", "256", "2048"] {
            let line = Line::parse_from(["serve", "--max-body", body, "--max-memory", "1"]);
            let limits = line.limits;
            for is_json in [true, false] {
                let needed = reserved_kib(is_json, limits.body_of(is_json));
                assert!(limits.memory_kib() >= needed, "{body} {is_json}");
                assert!(u64::from(needed) << 10 > limits.body_of(is_json) as u64);
            }
        }
    }
}
