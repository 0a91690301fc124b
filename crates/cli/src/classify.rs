//! `messymash classify`: the genre of files and folders of sound.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use messymash::audio::AudioLimits;
use messymash::classifier::{ClassifyOptions, Prediction, Predictions, WindowPredictions, timeline};
use messymash::{Classifier, Verdict, Warning};
use serde::Serialize;

use crate::input::{ModelArgs, Sound, ThreadArgs, WindowArgs, harmless, printable, sounds};
use crate::ordered::in_order;
use crate::progress::{Progress, clock};
use crate::{Outcome, interrupt};

/// Tell the genre of sound files.
///
/// Takes wav, mp3, flac, ogg, m4a, aiff and caf files of any length, whole folders, or - for standard input. A file that
/// cannot be heard is reported and does not stop the rest. Exit code: 0 all well, 1 some files failed, 2 could not start.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sound files or folders
    #[arg(required = true, value_name = "FILES|DIRS")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// How many genres to show, the likeliest first
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    #[command(flatten)]
    windows: WindowArgs,
    /// How to print the answer: text for people, the others for programs
    #[arg(long, default_value = "text")]
    format: Format,
    /// Also show how the genre changes over the file (text only; json and jsonl always tell it)
    #[arg(long)]
    timeline: bool,
    /// Refuse files of which more than this would be decoded. Left out: no limit
    #[arg(long, value_name = "SECONDS")]
    max_seconds: Option<f64>,
    #[command(flatten)]
    threads: ThreadArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON list
    Json,
    /// One JSON object a line, in the order of the files
    Jsonl,
    /// One row a file, one column a genre
    Csv,
}

/// What became of one file; serialises to the documented JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Heard {
        file: String,
        seconds: f64,
        predictions: Vec<Prediction>,
        windows: Vec<WindowPredictions>,
        #[serde(flatten)]
        verdict: Option<Verdict>,
        warnings: Vec<Warning>,
        model: &'a str,
        elapsed_ms: f64,
    },
    Failed {
        file: String,
        error: Failure,
    },
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

pub fn run(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let sounds = sounds(&args.files)?;
    let classifier = args.model.load()?;
    let limits = AudioLimits {
        max_seconds: args.max_seconds,
        ..AudioLimits::default()
    };
    let options = args.windows.options(limits)?;
    interrupt::listen()?;
    let mut printer = Printer::new(args, &classifier, io::stdout().lock());
    // Of several files the number done is shown; of one, which may be hours long, how much was heard.
    let mut progress = Progress::new(if sounds.len() > 1 { sounds.len() as u64 } else { 0 });
    if let [sound] = &sounds[..] {
        let mut heard = |seconds| progress.set(0, &format!("heard {}", clock(seconds)));
        let answer = answer(sound, &classifier, &options, args, &mut heard);
        progress.finish();
        // An interrupted file is not a failed one: nothing is told of it.
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                printer.finish()?;
                return Err(error.into());
            }
        };
        printer.print(&answer)?;
        printer.finish()?;
        return Ok(if matches!(answer, Answer::Failed { .. }) {
            Outcome::SomeFailed
        } else {
            Outcome::AllWell
        });
    }
    let (mut done, mut failed) = (0, 0);
    let work = |number: usize| answer(&sounds[number], &classifier, &options, args, &mut |_| ());
    let heard = in_order(sounds.len(), rayon::current_num_threads(), work, |answer| {
        let answer = answer?;
        failed += usize::from(matches!(answer, Answer::Failed { .. }));
        done += 1;
        progress.aside(|| printer.print(&answer))?;
        progress.set(done, &format!("files, {failed} failed"));
        Ok::<_, anyhow::Error>(())
    });
    if let Err(error) = heard {
        progress.finish();
        printer.finish()?;
        return Err(error);
    }
    progress.finish();
    printer.finish()?;
    Ok(if failed > 0 {
        Outcome::SomeFailed
    } else {
        Outcome::AllWell
    })
}

/// Hears one sound, telling `heard` how many seconds of it have been. Only an interruption is an error here.
fn answer<'a>(
    sound: &Sound,
    classifier: &'a Classifier,
    options: &ClassifyOptions,
    args: &Args,
    heard: &mut dyn FnMut(f64),
) -> messymash::Result<Answer<'a>> {
    interrupt::check()?;
    let started = Instant::now();
    let result = sound.open(&options.limits).and_then(|stream| {
        classifier.classify_stream(stream, options, &mut |seconds| {
            heard(seconds);
            interrupt::check()
        })
    });
    let file = sound.name();
    match result {
        Ok(heard) => {
            let top = args.top as usize;
            let Predictions {
                seconds,
                mut predictions,
                mut windows,
                verdict,
                warnings,
            } = heard;
            // csv has a column for each label.
            if args.format != Format::Csv {
                predictions.truncate(top);
                windows
                    .iter_mut()
                    .for_each(|window| window.predictions.truncate(top));
            }
            let elapsed_ms = (started.elapsed().as_secs_f64() * 1e4).round() / 10.0;
            let model = classifier.name();
            Ok(Answer::Heard {
                file,
                seconds,
                predictions,
                windows,
                verdict,
                warnings,
                model,
                elapsed_ms,
            })
        }
        Err(messymash::Error::Interrupted) => Err(messymash::Error::Interrupted),
        Err(error) => Ok(Answer::Failed {
            file,
            error: Failure {
                code: error.code(),
                message: error.to_string(),
            },
        }),
    }
}

/// Writes answers in the format asked for, each as soon as it is there.
struct Printer<'a, W: Write> {
    format: Format,
    timeline: bool,
    labels: &'a [String],
    printed: usize,
    out: W,
}

impl<'a, W: Write> Printer<'a, W> {
    fn new(args: &Args, classifier: &'a Classifier, out: W) -> Self {
        Self {
            format: args.format,
            timeline: args.timeline,
            labels: classifier.labels(),
            printed: 0,
            out,
        }
    }

    fn print(&mut self, answer: &Answer<'_>) -> Result<()> {
        match self.format {
            Format::Text => self.text(answer)?,
            Format::Json => {
                write!(self.out, "{}", if self.printed == 0 { "[\n" } else { ",\n" })?;
                serde_json::to_writer(&mut self.out, answer).map_err(io::Error::from)?;
            }
            Format::Jsonl => {
                serde_json::to_writer(&mut self.out, answer).map_err(io::Error::from)?;
                writeln!(self.out)?;
            }
            Format::Csv => self.csv(answer)?,
        }
        self.printed += 1;
        self.out.flush()?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.format == Format::Json {
            writeln!(self.out, "{}", if self.printed == 0 { "[]" } else { "\n]" })?;
        }
        self.out.flush()?;
        Ok(())
    }

    fn text(&mut self, answer: &Answer<'_>) -> Result<()> {
        let out = &mut self.out;
        if self.printed > 0 {
            writeln!(out)?;
        }
        match answer {
            Answer::Failed { file, error } => {
                writeln!(out, "{}: cannot be heard", printable(file))?;
                writeln!(out, "  {}", printable(&error.message))?;
            }
            Answer::Heard {
                file,
                seconds,
                predictions,
                windows,
                verdict,
                warnings,
                ..
            } => {
                let genre = printable(predictions.first().map_or("", |p| &p.label)).to_uppercase();
                let heading = match verdict {
                    Some(Verdict::NotMusic(other)) => format!("NO MUSIC ({})", other.name()),
                    Some(Verdict::NotSure) => format!("{genre}?"),
                    Some(Verdict::Sure) | None => genre,
                };
                writeln!(out, "{heading}  {} ({})", printable(file), clock(*seconds))?;
                for p in predictions {
                    let percent = 100.0 * p.score;
                    let bar = "█".repeat((p.score * 30.0).round() as usize);
                    writeln!(out, "  {:<12} {percent:5.1} %  {bar}", printable(&p.label))?;
                }
                if self.timeline {
                    for segment in timeline(windows) {
                        let (start, end) = (clock(segment.start), clock(segment.end));
                        writeln!(out, "  {start}–{end}  {}", printable(&segment.label))?;
                    }
                }
                let remark = match verdict {
                    Some(Verdict::NotMusic(_)) => Some("no music was heard, so the genres mean little."),
                    Some(Verdict::NotSure) => Some(
                        "not sure: the likeliest genre is rather wrong than right; look at the next ones, too.",
                    ),
                    Some(Verdict::Sure) | None => None,
                };
                let warnings = warnings.iter().map(|warning| &warning.message[..]);
                for note in remark.into_iter().chain(warnings) {
                    writeln!(out, "  note: {}", printable(note))?;
                }
            }
        }
        Ok(())
    }

    fn csv(&mut self, answer: &Answer<'_>) -> Result<()> {
        let mut rows = csv::Writer::from_writer(&mut self.out);
        if self.printed == 0 {
            let fixed = ["file", "genre", "score", "seconds"].map(String::from);
            rows.write_record(
                fixed
                    .iter()
                    .chain(self.labels)
                    .map(String::as_str)
                    .chain(["verdict", "error"]),
            )?;
        }
        let row: Vec<String> = match answer {
            Answer::Heard {
                file,
                seconds,
                predictions,
                verdict,
                ..
            } => {
                let score = |label: &str| {
                    predictions
                        .iter()
                        .find(|p| p.label == label)
                        .map_or(0.0, |p| p.score)
                };
                let (genre, best) = predictions
                    .first()
                    .map_or((String::new(), 0.0), |p| (p.label.clone(), p.score));
                let fixed = [
                    harmless(file),
                    harmless(&genre),
                    format!("{best:.6}"),
                    format!("{seconds:.3}"),
                ];
                let scores = self.labels.iter().map(|label| format!("{:.6}", score(label)));
                let verdict = match verdict {
                    Some(Verdict::Sure) => "sure".into(),
                    Some(Verdict::NotSure) => "not_sure".into(),
                    Some(Verdict::NotMusic(other)) => format!("not_music: {}", other.name()),
                    None => String::new(),
                };
                let end = [verdict, String::new()];
                fixed.into_iter().chain(scores).chain(end).collect()
            }
            Answer::Failed { file, error } => {
                let empty = std::iter::repeat_n(String::new(), 4 + self.labels.len());
                [harmless(file)]
                    .into_iter()
                    .chain(empty)
                    .chain([harmless(&error.message)])
                    .collect()
            }
        };
        rows.write_record(&row)?;
        rows.flush()?;
        Ok(())
    }
}
