//! A data set small enough to train on within a test: two genres that a child could tell apart, and some noise.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part; a failed unwrap is a failed test

use std::fs;
use std::path::{Path, PathBuf};

use messymash::Waveform;

pub const RATE: u32 = 16_000;

/// Seeded noise in [-amplitude, amplitude].
pub fn hiss(seed: u64, samples: usize, amplitude: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..samples)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            amplitude * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        })
        .collect()
}

pub fn tone(hertz: f32, samples: usize, amplitude: f32) -> Vec<f32> {
    let step = std::f32::consts::TAU * hertz / RATE as f32;
    (0..samples)
        .map(|i| amplitude * (step * i as f32).sin())
        .collect()
}

/// Writes `root/genres_stems/{blues,rock}/song<n>/*.wav` (four songs each, one second a stem) and
/// `root/ESC-50-master` (a clip in each of the five folds). Blues is low tones, rock is hiss.
pub fn write_data(root: &Path) {
    let second = RATE as usize;
    for song in 0..4u64 {
        for (n, stem) in ["drums", "vocals", "bass", "other"].into_iter().enumerate() {
            let n = n as u64;
            let low = 200.0 + 40.0 * song as f32 + 130.0 * n as f32;
            for (genre, samples) in [
                ("blues", tone(low, second, 0.3)),
                ("rock", hiss(10 * song + n, second, 0.3)),
            ] {
                let folder = root.join("genres_stems").join(genre).join(format!("song{song}"));
                fs::create_dir_all(&folder).unwrap();
                Waveform::new(samples, RATE)
                    .write_wav(folder.join(format!("{stem}.wav")))
                    .unwrap();
            }
        }
    }
    let esc = root.join("ESC-50-master");
    fs::create_dir_all(esc.join("audio")).unwrap();
    fs::create_dir_all(esc.join("meta")).unwrap();
    let mut table = String::from("filename,fold,target,category,esc10,src_file,take\n");
    for fold in 1..=5u64 {
        let name = format!("{fold}-{}-A-0.wav", 1000 + fold);
        table.push_str(&format!("{name},{fold},0,dog,True,{},A\n", 1000 + fold));
        let clip = Waveform::new(tone(3000.0 + 500.0 * fold as f32, second / 4, 0.1), RATE);
        clip.write_wav(esc.join("audio").join(name)).unwrap();
    }
    fs::write(esc.join("meta/esc50.csv"), table).unwrap();
}

/// A recipe for that data: a model of some thousand parameters that hears a quarter of a second.
pub fn recipe(epochs: u64) -> String {
    format!(
        r#"seed = 3
epochs = {epochs}
mashups_per_epoch = 64
batch_size = 8
micro_batch = 4
learning_rate = 3e-3
warmup_steps = 4
save_every_steps = 3
loader_threads = 2
patchout = 0.2

[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 32
patch_size = 4
frequency_stride = 4
time_stride = 4
max_length = 24
num_mel_bins = 16

[validation]
fraction = 0.25
noise_folds = [5]
mashups = 32

[remix]
seconds = 0.26
tempo = [0.9, 1.1]

[specaugment]
frequency_width = 3
time_width = 4
"#
    )
}

/// Writes a data set with the competition's true layout and its defects below `root`, one level deeper than it is unpacked:
/// `root/messy_mashup/{genres_stems,ESC-50-master,mashups,test.csv,sample_submission.csv}`. Stems and noise are those of
/// [`write_data`]; one bass is silent, one song has `others.wav`, one stem is shorter than its sisters. Six mashups (22,050 Hz,
/// mono, 0.4 to 0.9 s) have the zero-padded ids 0001 to 0006 and stand in this order: 2, 1, 3, 4, 5, 6. `.DS_Store` and AppleDouble files
/// lie about. Gives back `root/messy_mashup`.
pub fn write_competition(root: &Path) -> PathBuf {
    let root = root.join("messy_mashup");
    write_data(&root);
    let stems = root.join("genres_stems");
    let second = RATE as usize;
    let song = stems.join("rock/song1");
    fs::rename(song.join("other.wav"), song.join("others.wav")).unwrap();
    let write = |path: PathBuf, samples, rate| Waveform::new(samples, rate).write_wav(path).unwrap();
    write(stems.join("blues/song2/bass.wav"), vec![0.0; second], RATE);
    write(
        stems.join("rock/song3/drums.wav"),
        hiss(99, second / 2, 0.3),
        RATE,
    );
    let mashups = root.join("mashups");
    fs::create_dir_all(&mashups).unwrap();
    let (mut test, mut sample) = (String::from("id,filename\n"), String::from("id,genre\n"));
    for number in [2u64, 1, 3, 4, 5, 6] {
        let name = format!("song{number:04}.wav");
        let samples = 22_050 * (3 + number as usize) / 10;
        write(
            mashups.join(&name),
            hiss(number, samples, 0.1 + 0.1 * number as f32),
            22_050,
        );
        test += &format!("{number:04},mashups/{name}\n");
        sample += &format!("{number:04},jazz\n");
    }
    fs::write(root.join("test.csv"), test).unwrap();
    fs::write(root.join("sample_submission.csv"), sample).unwrap();
    for folder in [&root, &stems, &stems.join("blues"), &mashups] {
        fs::write(folder.join(".DS_Store"), b"\0\0\0\x01Bud1").unwrap();
    }
    for path in [
        song.join("._drums.wav"),
        mashups.join("._song0001.wav"),
        root.join("._test.csv"),
    ] {
        fs::write(path, b"\0\x05\x16\x07").unwrap();
    }
    root
}

/// Puts other bytes into a file and makes its size and time those of before.
pub fn replace_unseen(path: &Path) {
    let metadata = fs::metadata(path).unwrap();
    fs::write(path, vec![b'x'; metadata.len() as usize]).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
}
