"""The sounds of bench_peers.py: seeded music that codecs, resamplers and models find work in, and files of it."""

import pathlib
import shutil
import subprocess

import numpy as np
import soundfile

# What follows the input's name in ffmpeg's command, by the suffix of the file that it shall write.
ENCODINGS = {
    "flac": ["-c:a", "flac"],
    "mp3": ["-c:a", "libmp3lame", "-b:a", "192k"],
    "ogg": ["-c:a", "libvorbis", "-q:a", "5"],
}


def ffmpeg():
    program = shutil.which("ffmpeg")
    if not program:
        raise RuntimeError("ffmpeg does not exist; install it (`apt install ffmpeg`)")
    return program


def music(seconds, rate, seed, up_to=None):
    """Samples [n, 2]: four decaying notes of three harmonics a second, each at its own place between left and right,
    over noise that fades towards the treble and ends at `up_to` hertz."""
    random = np.random.default_rng(seed)
    count = round(seconds * rate)
    noise = np.fft.rfft(random.standard_normal((count, 2)), axis=0)
    hertz = np.fft.rfftfreq(count, 1 / rate)
    noise *= ((hertz <= (up_to or rate)) / np.hypot(1, hertz / 1000))[:, None]
    samples = (0.03 * np.fft.irfft(noise, count, axis=0)).astype(np.float32)
    for _ in range(round(4 * seconds)):
        start = random.integers(count)
        t = np.arange(min(round(rate * random.uniform(0.3, 1.5)), count - start), dtype=np.float32) / rate
        hertz = 55 * 2 ** (random.integers(60) / 12)
        note = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in (1, 2, 3) if k * hertz < rate / 2)
        note *= np.exp(-random.uniform(2, 8) * t) * np.minimum(200 * t, 1)
        left = random.uniform(0.2, 0.8)
        samples[start:start + len(t)] += 0.15 * note[:, None] * np.array([left, 1 - left], dtype=np.float32)
    return 0.5 * samples / np.abs(samples).max()


def write_wav(path, samples, rate):
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def encode(wav, suffix):
    """The file beside `wav` that holds the same sound in another format."""
    path = wav.with_suffix(f".{suffix}")
    if not path.exists():
        command = [ffmpeg(), "-v", "error", "-y", "-i", str(wav), *ENCODINGS[suffix], str(path)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {run.returncode}: {run.stderr.strip()}")
    return path


def long_file(folder, suffix):
    """Four minutes, 44.1 kHz, stereo."""
    wav = folder / "four_minutes.wav"
    if not wav.exists():
        write_wav(wav, music(240, 44_100, seed=1), 44_100)
    return wav if suffix == "wav" else encode(wav, suffix)


def start_files(folder):
    """Thirty seconds twice: at 44.1 kHz in stereo, as people have it, and at 16 kHz in mono, where no resampler and no
    mixing down can stand between two answers."""
    stereo, mono = folder / "thirty_seconds.wav", folder / "thirty_seconds_mono.wav"
    if not mono.exists():
        write_wav(stereo, music(30, 44_100, seed=2), 44_100)
        write_wav(mono, music(30, 16_000, seed=2).mean(axis=1), 16_000)
    return stereo, mono


def collection(folder, count):
    """A folder of `count` files of thirty seconds: eight sounds in four formats, linked under other names.

    Their treble ends at 6 kHz: below 8 kHz every resampler fades out in its own way, a model hears that, and answers
    that are to be compared would differ for no fault of anybody.
    """
    originals, collected = folder / "originals", folder / f"files_{count}"
    originals.mkdir(exist_ok=True)
    kinds = [("wav", 44_100, 2), ("mp3", 44_100, 2), ("flac", 44_100, 2), ("ogg", 44_100, 2),
             ("wav", 16_000, 1), ("mp3", 48_000, 2), ("flac", 48_000, 2), ("ogg", 22_050, 1)]
    files = []
    for seed, (suffix, rate, channels) in enumerate(kinds):
        wav = originals / f"{seed}.wav"
        if not wav.exists():
            write_wav(wav, music(30, rate, seed=20 + seed, up_to=6000)[:, :channels], rate)
        files.append(wav if suffix == "wav" else encode(wav, suffix))
    if not collected.exists():
        collected.mkdir()
        for number in range(count):
            original = files[number % len(files)]
            (collected / f"{number:03}{original.suffix}").hardlink_to(original)
    return collected, sorted(pathlib.Path(collected).iterdir())
