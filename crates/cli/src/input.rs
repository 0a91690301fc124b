//! What commands share of their input: the model, the data, the files, the threads, and names fit to print.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use messymash::Classifier;
use messymash::ast::Precision;
use messymash::audio::{AudioLimits, AudioStream};
use messymash::classifier::{ClassifyOptions, Tail, Windows};
use messymash::dataset::{DatasetOptions, MessyMashup, is_sound};
use walkdir::WalkDir;

/// Sound read from standard input is kept in memory, up to this many bytes.
const MAX_STDIN: u64 = 1 << 31;

/// The model that a command is to use.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// A model directory (config.json, preprocessor_config.json, model.safetensors), or the id of a model in the local
    /// Hugging Face cache such as afloven/messymashupclassifier. Left out: the model inside this program
    #[arg(long, value_name = "DIR", env = "MESSYMASH_MODEL")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub precision: PrecisionArgs,
}

/// What models are computed in.
#[derive(Debug, Clone, clap::Args)]
pub struct PrecisionArgs {
    /// What the model is computed in. Left out: int8 if the model is quantised, else f32
    #[arg(long, env = "MESSYMASH_PRECISION")]
    precision: Option<PrecisionArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    /// 32-bit floating point: the model as it was trained
    F32,
    /// Eight-bit weights and activations: less memory and time, almost always the same answers
    Int8,
}

impl ModelArgs {
    /// Loads it.
    pub fn load(&self) -> Result<Classifier> {
        self.precision.load(self.model.as_deref())
    }
}

impl PrecisionArgs {
    /// Loads a model; `None`: the one inside this program.
    pub fn load(&self, model: Option<&Path>) -> Result<Classifier> {
        let precision = self.precision.map(|precision| match precision {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::Int8 => Precision::Int8,
        });
        let Some(model) = model else {
            return Classifier::bundled_in(precision.unwrap_or_default())
                .context("the model inside this program");
        };
        match precision {
            None => Classifier::from_pretrained(model),
            Some(precision) => Classifier::from_pretrained_in(model, precision),
        }
        .context("cannot load the model")
    }
}

/// Which part of a sound a command is to hear.
#[derive(Debug, clap::Args)]
pub struct WindowArgs {
    /// Hear the whole file, or only its first ten seconds
    #[arg(long, default_value = "all")]
    windows: WindowsArg,
    /// Seconds from one window of about ten seconds to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 10.24)]
    hop: f64,
    /// What fills the last window where too little sound is left for it
    #[arg(long, default_value = "shift")]
    tail: TailArg,
    /// Windows of a file computed at once. Left out: as many as is fast on the cores in use
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WindowsArg {
    /// The whole file
    All,
    /// The first window only, exactly as the transformers pipeline hears it
    First,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TailArg {
    /// Sound from before it: the window ends with the file (a file shorter than a window is repeated)
    Shift,
    /// The rest of the file, repeated
    Repeat,
    /// Zeros
    Pad,
}

impl WindowArgs {
    /// As the library takes them, checked.
    pub fn options(&self, limits: AudioLimits) -> Result<ClassifyOptions> {
        let options = ClassifyOptions {
            windows: match self.windows {
                WindowsArg::All => Windows::All { hop: self.hop },
                WindowsArg::First => Windows::First,
            },
            tail: match self.tail {
                TailArg::Shift => Tail::Shift,
                TailArg::Repeat => Tail::Repeat,
                TailArg::Pad => Tail::Pad,
            },
            limits,
            batch: self.batch,
            ..ClassifyOptions::default()
        };
        options.check()?;
        Ok(options)
    }
}

/// The data that a command is to use.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// A folder with the Messy Mashup layout somewhere below it: genres_stems/<genre>/<song>/{drums,vocals,bass,other}.wav and
    /// ESC-50-master. May be given several times; the songs and noises of all are taken together
    #[arg(long, value_name = "DIR")]
    pub data: Vec<PathBuf>,
    /// A further folder of noise (any sound files). May be given several times
    #[arg(long, value_name = "DIR")]
    pub noise: Vec<PathBuf>,
    /// Take songs that lack stems with those they have, instead of stopping
    #[arg(long)]
    pub allow_missing_stems: bool,
}

impl DataArgs {
    /// Finds songs and noises.
    pub fn open(&self) -> Result<MessyMashup> {
        if self.data.is_empty() {
            bail!("no data given; name a folder with --data DIR");
        }
        let options = DatasetOptions {
            allow_missing_stems: self.allow_missing_stems,
            extra_noise: self.noise.clone(),
            ..DatasetOptions::default()
        };
        Ok(MessyMashup::open(&self.data, &options)?)
    }
}

/// How many cores the work takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ThreadArgs {
    /// Processor cores to use. Left out: all
    #[arg(long, value_name = "N", env = "MESSYMASH_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl ThreadArgs {
    /// Sets up the threads that all work then runs on.
    pub fn apply(&self) -> Result<()> {
        let threads = usize::from(self.threads.unwrap_or(0)); // 0: as many as there are cores
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot start threads")
    }
}

/// One sound to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// A file.
    File(PathBuf),
    /// Standard input, typed as `-`.
    Stdin,
}

impl Sound {
    /// What to call it in output.
    pub fn name(&self) -> String {
        match self {
            Sound::File(path) => path.to_string_lossy().into_owned(),
            Sound::Stdin => "-".into(),
        }
    }

    /// Opens it for decoding.
    pub fn open(&self, limits: &AudioLimits) -> messymash::Result<AudioStream> {
        match self {
            Sound::File(path) => AudioStream::open(path, limits),
            Sound::Stdin => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .lock()
                    .take(MAX_STDIN + 1)
                    .read_to_end(&mut bytes)
                    .map_err(messymash::Error::io("standard input"))?;
                if bytes.len() as u64 > MAX_STDIN {
                    return Err(messymash::Error::UnsupportedMedia(
                        "More than 2 GiB came through standard input; give a file instead.".into(),
                    ));
                }
                AudioStream::from_bytes(bytes, limits)
            }
        }
    }
}

/// The sounds that files, folders and `-` stand for, in the order given; what is in a folder is sorted by path.
///
/// Files named explicitly are always taken; in folders, files with the extension of a sound format whose names do not begin
/// with a dot.
pub fn sounds(paths: &[PathBuf]) -> Result<Vec<Sound>> {
    let mut sounds = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            sounds.push(Sound::Stdin);
        } else if path.is_dir() {
            let hidden = |entry: &walkdir::DirEntry| {
                entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".")
            };
            let found = WalkDir::new(path)
                .follow_links(true)
                .sort_by_file_name()
                .into_iter()
                .filter_entry(|entry| !hidden(entry));
            for entry in found {
                match entry {
                    Ok(entry) if entry.file_type().is_file() && is_sound(entry.path()) => {
                        sounds.push(Sound::File(entry.into_path()));
                    }
                    Ok(_) => {}
                    // A loop of links leads to what is walked already.
                    Err(error) if error.loop_ancestor().is_some() => {}
                    // A folder that may not be read, a link to nothing: told like any file that cannot be heard.
                    Err(error) => {
                        let missed = error.path().filter(|path| path.is_dir() || is_sound(path));
                        sounds.extend(missed.map(|path| Sound::File(path.to_path_buf())));
                    }
                }
            }
        } else {
            sounds.push(Sound::File(path.clone()));
        }
    }
    if sounds.is_empty() {
        bail!(
            "no sound files found in the folders given; they are known by their extension (wav, mp3, flac, …)"
        );
    }
    Ok(sounds)
}

/// A cell that a spreadsheet will not take for a formula.
pub fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell.to_string()
    }
}

/// Text that cannot command a terminal or change the direction in which it is read: such characters are written as escapes.
pub fn printable(text: &str) -> String {
    let commands = |c: char| c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| {
            if commands(c) && c != '\n' {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// [`printable`], on one line: what a file is called may not look like a line of ours.
pub fn printable_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

/// An error and its causes; what a message says of its cause already is not said again.
pub fn told(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |told, cause| {
            if told.is_empty() {
                cause
            } else if told.ends_with(&cause) {
                told
            } else {
                format!("{told}: {cause}")
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let absent = messymash::Error::io("a.csv")(std::io::ErrorKind::NotFound.into());
        assert_eq!(told(&absent.into()), "a.csv: entity not found");
        let cause = anyhow::anyhow!("no room")
            .context("cannot write b")
            .context("stopped");
        assert_eq!(told(&cause), "stopped: cannot write b: no room");
    }

    #[test]
    fn escapes_never_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(printable("Motörhead 音"), "Motörhead 音");
        assert_eq!(printable("gnp\u{202E}3pm."), "gnp\\u{202e}3pm.");
        assert_eq!(printable_line("a\nfailed  b"), "a\\nfailed  b");
    }

    #[test]
    fn cells_are_no_formulas() {
        assert_eq!(harmless("=1+1"), "'=1+1");
        assert_eq!(harmless("song.wav"), "song.wav");
    }
}
