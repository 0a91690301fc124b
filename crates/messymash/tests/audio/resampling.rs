//! The resampler, by what is known of a sine and against soxr.

use super::*;

#[test]
fn streaming_and_whole_resampling_agree() {
    let sound = Waveform::from_bytes(golden("audio/tone.mp3")).unwrap();
    for rate in [16_000, 48_000, 44_099] {
        let whole = sound.resample(rate).unwrap();
        let stream = AudioStream::from_bytes(golden("audio/tone.mp3"), &AudioLimits::default()).unwrap();
        let streamed = stream.resampled(rate).unwrap().into_waveform().unwrap();
        assert_eq!(streamed, whole, "{rate}");
    }
}

#[test]
fn resampling_keeps_length_time_and_level_at_any_rate() {
    for (from, to) in [
        (44_100, 16_000),
        (48_000, 16_000),
        (22_050, 16_000),
        (8_000, 16_000),
        (11_025, 16_000),
        (96_000, 16_000),
        (44_056, 16_000),
        (1_000, 16_000),
        (768_000, 16_000),
        // Ratios that do not reduce go another way.
        (44_099, 16_000),
        (16_000, 44_099),
        (16_000, 15_999),
    ] {
        let samples = (f64::from(from) * 0.8) as usize;
        // A faded sine at 0.3 of the lower rate, which is known at any time.
        let frequency = 0.3 * f64::from(from.min(to));
        let seconds = samples as f64 / f64::from(from);
        let at = |t: f64| 0.5 * (PI * t / seconds).sin().powi(2) * (2.0 * PI * frequency * t + 0.3).sin();
        let sound = Waveform::new(
            (0..samples)
                .map(|i| at(i as f64 / f64::from(from)) as f32)
                .collect(),
            from,
        );
        let result = sound.resample(to).unwrap();
        assert_eq!(
            result.samples.len(),
            (samples as f64 * f64::from(to) / f64::from(from)).round() as usize
        );
        let (mut signal, mut noise) = (0.0, 0.0);
        for (i, &sample) in result.samples.iter().enumerate() {
            let ideal = at(i as f64 / f64::from(to));
            signal += ideal * ideal;
            noise += (ideal - f64::from(sample)).powi(2);
        }
        let snr = 10.0 * f64::log10(signal / noise);
        assert!(snr > 80.0, "{from} to {to} Hz: {snr:.1} dB");
    }
}

#[test]
fn resampling_removes_what_the_new_rate_cannot_hold() {
    for (from, above) in [(44_100, 12_000.0), (48_000, 8_200.0), (44_099, 9_000.0)] {
        let tone = sine(above, 0.5, from, from as usize);
        let sound = Waveform::new(tone.iter().map(|&s| s as f32).collect(), from)
            .resample(16_000)
            .unwrap();
        // Where the tone starts and stops at once it has every frequency.
        let level = rms(&sound.samples[2_000..14_000]);
        assert!(
            20.0 * level.log10() < -80.0,
            "{above} Hz at {from} Hz leaves {:.1} dBFS",
            20.0 * level.log10()
        );
    }
}

/// The sweep of tools/golden_resample.py.
fn sweep(rate: u32, top: f64) -> Waveform {
    let at = |t: f64| {
        let phase = 2.0 * PI * (50.0 * t + (top - 50.0) * t * t / 2.0);
        let edge = (t.min(1.0 - t) / 0.05).clamp(0.0, 1.0);
        0.5 * (0.5 - 0.5 * (PI * edge).cos()) * phase.sin()
    };
    Waveform::new(
        (0..rate)
            .map(|i| at(f64::from(i) / f64::from(rate)) as f32)
            .collect(),
        rate,
    )
}

#[test]
fn resampling_agrees_with_soxr_hq() {
    for (from, to) in [
        (44_100, 16_000),
        (48_000, 16_000),
        (22_050, 16_000),
        (8_000, 16_000),
    ] {
        let bytes = golden(&format!("resample/{from}-{to}.f32"));
        let soxr: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let ours = sweep(from, 0.40 * f64::from(from.min(to)))
            .resample(to)
            .unwrap()
            .samples;
        assert_eq!(ours.len(), soxr.len());
        // No edges are left out: the sweep is faded, so all of it is in band.
        let noise: f64 = ours
            .iter()
            .zip(&soxr)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        let signal: f64 = soxr.iter().map(|b| f64::from(*b).powi(2)).sum();
        let snr = 10.0 * f64::log10(signal / noise);
        assert!(snr > 80.0, "{from} to {to} Hz: {snr:.1} dB");
    }
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let sound = Waveform::new(vec![0.0; 100], 16_000);
    assert!(matches!(sound.resample(0), Err(Error::Config(_))));
    assert!(matches!(sound.resample(u32::MAX), Err(Error::Config(_))));
    assert!(matches!(
        Waveform::new(vec![0.0; 100], 0).resample(16_000),
        Err(Error::InvalidAudio(_))
    ));
    assert!(
        Waveform::new(Vec::new(), 8_000)
            .resample(16_000)
            .unwrap()
            .samples
            .is_empty()
    );
}
