"""Writes crates/messymash/tests/golden/features: short sounds, and what torchaudio and transformers make of them.

    python -m venv VENV && VENV/bin/pip install -r tools/requirements-reference.txt
    VENV/bin/python tools/golden_features.py

The sounds are stored (16-bit wav), so that nobody has to make them again to the last bit. For each of them:

  <clip>.fbank          [frames, 128]  torchaudio.compliance.kaldi.fbank, only of the frames in <clip>.fbank_frames
  <clip>.fbank_frames   [frames]       all frames of clips up to 3 s, every tenth of longer ones
  <clip>.fbank_mean     [128]          mean over ALL frames, in double precision: nothing hides between stored frames
  <clip>.num_frames     [1]            how many there are
  <clip>.input_values   [rows, 128]    ASTFeatureExtractor's output, only of the rows in <clip>.input_rows
  <clip>.input_rows     [rows]         every 32nd row, and the rows on both sides of where sound ends and padding begins
  noisy_chirp.fbank_<rate>_<bins>      every 4th frame of those samples as if sampled at <rate>, with <bins> filters

transformers has a second path, used where torchaudio is missing, which computes in double precision. It is run as well,
and this program fails unless both agree. For the tone and the chirp they do so less closely: far from a loud pure tone
the energies are 1e-8 of its own, where single precision ends, and the logarithm shows it.
"""

import pathlib
import wave

import numpy as np
import torch
import torchaudio.compliance.kaldi as kaldi
from safetensors.numpy import save_file
from transformers import ASTFeatureExtractor
from transformers.models.audio_spectrogram_transformer import feature_extraction_audio_spectrogram_transformer as module

RATE = 16_000
OUT = pathlib.Path(__file__).resolve().parent.parent / "crates/messymash/tests/golden/features"
MAX_BYTES = 2_500_000
# What transformers' second path may differ by before normalising: (sounds with a spectrum, pure tones).
NUMPY_BEFORE = (1e-3, 2e-2)
PURE = {"tone", "chirp"}
OTHER_BANKS = [(8_000, 40), (44_100, 64), (22_050, 128)]


def seconds(length):
    return np.arange(round(length * RATE)) / RATE


def music(length, seed):
    """Chords of decaying harmonics over a beat of filtered noise: broad-band, with attacks, level changing."""
    rng = np.random.default_rng(seed)
    t = seconds(length)
    out = np.zeros_like(t)
    for beat in range(int(length * 2)):
        since = t - beat / 2
        heard = since >= 0
        envelope = np.where(heard, np.exp(-4 * np.maximum(since, 0)), 0)
        for note in rng.choice([48, 52, 55, 57, 60, 64, 67, 72], size=3, replace=False):
            frequency = 440 * 2 ** ((note - 69) / 12)
            for harmonic in range(1, 9):
                out += 0.12 / harmonic * envelope * np.sin(2 * np.pi * frequency * harmonic * since)
        noise = rng.standard_normal(t.size)
        if beat % 2:
            noise = np.diff(noise, prepend=0)
        out += 0.1 * np.where(heard, np.exp(-30 * np.maximum(since, 0)), 0) * noise
    return 0.8 * out / np.abs(out).max()


def clips():
    rng = np.random.default_rng(1)
    t = seconds(2)
    chirp = 0.5 * np.sin(2 * np.pi * (30 * t + (7900 - 30) / 4 * t**2))
    return {
        "tone": 0.5 * np.sin(2 * np.pi * 997 * seconds(1)),
        "chirp": chirp,
        "noisy_tone": 0.1 * np.sin(2 * np.pi * 997 * seconds(1)) + 0.01 * rng.standard_normal(RATE),
        "noisy_chirp": 0.2 * chirp[RATE // 2 : 3 * RATE // 2] + 0.01 * rng.standard_normal(RATE),
        "noise": 0.1 * rng.standard_normal(RATE),
        "music": music(2, seed=2),
        "silence": np.zeros(RATE // 2),
        "short_0_4_s": music(0.5, seed=3)[: RATE * 4 // 10],
        "three_seconds": music(3, seed=4),
        "ten_seconds": music(10, seed=5),
        "twelve_seconds": music(12, seed=6) + 0.01 * rng.standard_normal(12 * RATE),
    }


def to_pcm(samples):
    return np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2")


def fbank(samples, rate=RATE, bins=128):
    return kaldi.fbank(
        torch.from_numpy(samples)[None],
        htk_compat=True,
        sample_frequency=rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=bins,
        dither=0.0,
        frame_shift=10,
    ).numpy()


def without_torchaudio():
    """The extractor as it is where torchaudio is not installed."""
    module.is_speech_available = lambda: False
    return ASTFeatureExtractor()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    extractor = ASTFeatureExtractor()
    assert module.is_speech_available(), "torchaudio is needed"
    expected = {}
    pcm = {name: to_pcm(samples) for name, samples in clips().items()}
    sounds = {name: samples.astype(np.float32) / np.float32(32768) for name, samples in pcm.items()}
    inputs = {name: extractor(s, sampling_rate=RATE, return_tensors="np")["input_values"][0] for name, s in sounds.items()}
    second = without_torchaudio()

    for name, samples in sounds.items():
        with wave.open(str(OUT / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", None))
            file.writeframes(pcm[name].tobytes())
        rows = fbank(samples)
        frames = np.arange(0, len(rows), 1 if samples.size <= 3 * RATE else 10)
        end = min(len(rows), 1024)
        at = set(range(0, 1024, 32)) | {1023} | {row for row in (end - 1, end) if row < 1024}
        at = np.array(sorted(at))
        expected[f"{name}.num_frames"] = np.array([len(rows)])
        expected[f"{name}.fbank"] = rows[frames]
        expected[f"{name}.fbank_frames"] = frames
        expected[f"{name}.fbank_mean"] = rows.mean(axis=0, dtype=np.float64)
        expected[f"{name}.input_values"] = inputs[name][at]
        expected[f"{name}.input_rows"] = at

        after = second(samples, sampling_rate=RATE, return_tensors="np")["input_values"][0]
        before = second._extract_fbank_features(samples, max_length=len(rows))
        before, after = np.abs(before - rows).max(), np.abs(after - inputs[name]).max()
        print(f"{name:15} {len(rows):5} frames; numpy path differs by {before:.1e}, after normalising by {after:.1e}")
        limit = NUMPY_BEFORE[name in PURE]
        # Normalising divides by 2 std = 9.14.
        assert before < limit and after < limit / 9, f"transformers' two paths disagree about {name}"
    for rate, bins in OTHER_BANKS:
        expected[f"noisy_chirp.fbank_{rate}_{bins}"] = fbank(sounds["noisy_chirp"], rate, bins)[::4]

    save_file({name: np.ascontiguousarray(tensor) for name, tensor in expected.items()}, OUT / "expected.safetensors")
    ASTFeatureExtractor().save_pretrained(OUT)
    size = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"{OUT}: {size} bytes")
    assert size < MAX_BYTES


if __name__ == "__main__":
    main()
