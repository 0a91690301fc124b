//! A data set small enough to train on within a test: two genres that a child could tell apart, and some noise.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part; a failed unwrap is a failed test

use std::fs;
use std::path::Path;

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
