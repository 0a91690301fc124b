//! Tells the genre of sound as it comes in: raw PCM (16 bits, little-endian, interleaved) on standard input, one line a hop.
//!
//! ```sh
//! arecord -t raw -f S16_LE -r 44100 -c 2 | cargo run --release -p messymash --example stream -- 44100 2
//! ffmpeg -i http://radio.example/stream -f s16le -ar 44100 -ac 2 - | cargo run --release -p messymash --example stream -- 44100 2
//! ```
//!
//! Arguments: rate (default 16000), channels (1), hop in seconds (2), model directory (the bundled one).

use std::error::Error;
use std::io::{ErrorKind, Read, Write, stdin, stdout};

use messymash::Classifier;
use messymash::classifier::{ClassifyOptions, StreamClassifier, WindowPredictions, Windows};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument =
        |place: usize, default: &str| arguments.get(place).map_or(default, String::as_str).to_string();
    let rate: u32 = argument(0, "16000").parse()?;
    let channels: u16 = argument(1, "1").parse()?;
    let hop: f64 = argument(2, "2").parse()?;
    let classifier = match arguments.get(3) {
        Some(model) => Classifier::from_pretrained(model)?,
        None => Classifier::bundled()?,
    };
    let options = ClassifyOptions {
        windows: Windows::All { hop },
        ..ClassifyOptions::default()
    };
    let mut stream = StreamClassifier::new(&classifier, rate, channels, &options)?;

    let (mut input, mut bytes, mut pending) = (stdin().lock(), [0; 4096], Vec::new());
    loop {
        match input.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => pending.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        // A pipe may end anywhere within a frame.
        let whole = pending.len() / (2 * usize::from(channels)) * 2 * usize::from(channels);
        let samples: Vec<f32> = pending[..whole]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&pair| f32::from(i16::from_le_bytes(pair)) / 32_768.0)
            .collect();
        pending.drain(..whole);
        for window in stream.push(&samples)? {
            tell(&window)?;
        }
    }
    let all = stream.finish()?;
    for window in &all.windows {
        tell(window)?;
    }
    let best = &all.predictions[0];
    writeln!(
        stdout(),
        "altogether {} ({:.0} %)",
        best.label,
        100.0 * best.score
    )?;
    Ok(())
}

fn tell(window: &WindowPredictions) -> std::io::Result<()> {
    let best = &window.predictions[0];
    let (start, end) = (window.start, window.end);
    writeln!(
        stdout(),
        "{start:7.1} to {end:7.1} s  {} ({:.0} %)",
        best.label,
        100.0 * best.score
    )
}
