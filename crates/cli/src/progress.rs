//! How far long work is: a bar on a terminal, a line now and then elsewhere. Always on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where it is no terminal, a line at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What a terminal shows where the number of parts is known, and where it is not.
const KNOWN: &str = "{wide_bar} {pos}/{len} {msg}";
const UNKNOWN: &str = "{spinner} {msg}";

/// Progress of one piece of work.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    last_line: Instant,
    /// Where it is no terminal: what was not said since the last line, if there was one at all.
    unsaid: Option<String>,
    plain: bool,
}

impl Progress {
    /// Work of `total` parts; 0 if that is not known, which shows how far it is and no bar.
    pub fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let template = if total == 0 { UNKNOWN } else { KNOWN };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            total,
            last_line: Instant::now(),
            unsaid: None,
            plain: false,
        }
    }

    /// `done` parts are done; `message` says how it goes.
    pub fn set(&mut self, done: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message.to_string());
            }
            None => {
                let line = match self.total {
                    0 => message.to_string(),
                    total => format!("{done}/{total} {message}"),
                };
                if self.last_line.elapsed() >= PLAIN_EVERY {
                    eprintln!("{line}");
                    self.last_line = Instant::now();
                    self.plain = true;
                    self.unsaid = None;
                } else {
                    self.unsaid = Some(line);
                }
            }
        }
    }

    /// The number of parts has become known.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            if let Ok(style) = ProgressStyle::with_template(KNOWN) {
                bar.set_style(style);
            }
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        self.aside(|| eprintln!("{line}"));
    }

    /// Does something that prints, with the bar out of the way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    /// Takes the bar away; of lines, the last one says how it ended.
    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(line) = self.unsaid.take().filter(|_| self.plain) {
            eprintln!("{line}");
        }
    }
}

/// `1:02:03`, `2:03` or `0:03`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(3.4), "0:03");
        assert_eq!(clock(123.0), "2:03");
        assert_eq!(clock(3723.0), "1:02:03");
        assert_eq!(clock(-1.0), "0:00");
    }
}
