//! The first program of docs/rust.md: the likeliest genres of song.mp3.

use messymash::{Classifier, Waveform};

fn main() -> messymash::Result<()> {
    let classifier = Classifier::bundled()?;
    let song = Waveform::open("song.mp3")?;
    for prediction in classifier.classify(&song)?.top(3) {
        println!("{:5.1}%  {}", 100.0 * prediction.score, prediction.label);
    }
    Ok(())
}
