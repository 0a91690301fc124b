"""Short sounds of stems for a student to learn from: units of 2.56 s of up to four stems, one song's or different songs', each at another speed and
with another tone, some in a room or distorted, in the Messy Mashup layout (OUT/genres_stems/stems/<number>/other.wav, 16 kHz mono).

    stems.py --split split.json --data DIR [DIR ...] [--unlabelled FOLDER ...] --count 24000 [--first 0] --out OUT

Stems are those of the training songs of the split, looked for in each DIR (a Messy Mashup folder, as `messymash separate` writes it), and of all
songs in the folders of unlabelled ones (FOLDER/<song>/drums.flac and so on). Of the same folders the same number is always the same sound, so that
--first goes on. All stems are held in memory, 2 bytes a sample. The teacher hears the result, so its answer fits whatever room, equaliser and
distortion did.
"""
import argparse
import json
import pathlib

import numpy as np
import soundfile
import soxr
from scipy.signal import fftconvolve, lfilter

RATE, UNIT, STEMS = 16_000, 40_960, ("drums", "bass", "vocals", "other")


def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples = samples.mean(1)
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def stems_of(song):
    """The stems of a folder that are longer than half a second and not silent (-55 dB of full scale and more), by name."""
    stems = {name: read(path) for name in STEMS for path in sorted(song.glob(f"{name}.*")) if path.suffix in (".wav", ".flac")}
    return {name: s for name, s in stems.items() if len(s) > 8_000 and np.sqrt((s.astype(np.float32) ** 2).mean()) > 60}


def faster(random, stem):
    """A unit of the stem, from anywhere in it, at 0.77 to 1.3 of its speed (and pitch); a shorter stem is repeated from anywhere on."""
    speed = np.exp(random.uniform(-np.log(1.3), np.log(1.3)))
    needed = int(UNIT * speed) + 64
    start = random.integers(0, max(len(stem) - needed, 0) + 1)
    samples = stem[start : start + needed].astype(np.float32) / 32768
    if len(samples) < needed:
        samples = np.resize(np.roll(samples, -random.integers(len(samples))), needed)
    samples = soxr.resample(samples, RATE * speed, RATE, "MQ")[:UNIT]
    return np.pad(samples, (0, UNIT - len(samples)))


def toned(random, samples):
    """One band of an equaliser, 80 to 6,500 Hz, up to 9 dB up or down (the peaking filter of the Audio EQ Cookbook, R. Bristow-Johnson)."""
    hertz, quality, decibels = np.exp(random.uniform(np.log(80), np.log(6_500))), random.uniform(0.4, 2), random.uniform(-9, 9)
    amplitude, turn = 10 ** (decibels / 40), 2 * np.pi * hertz / RATE
    alpha = np.sin(turn) / (2 * quality)
    zeros = np.array([1 + alpha * amplitude, -2 * np.cos(turn), 1 - alpha * amplitude])
    poles = np.array([1 + alpha / amplitude, -2 * np.cos(turn), 1 - alpha / amplitude])
    return lfilter(zeros / poles[0], poles / poles[0], samples).astype(np.float32)


def in_room(random, samples):
    """With a reverberation of 0.1 to 0.8 s (noise that decays by 60 dB), 3 to 18 dB below the sound."""
    length = int(RATE * random.uniform(0.1, 0.8))
    echo = random.normal(size=length).astype(np.float32) * np.exp(-np.arange(length, dtype=np.float32) * (6.9 / length))
    echo = lfilter([1], [1, -random.uniform(0, 0.8)], echo).astype(np.float32)
    echo *= 10 ** (random.uniform(-18, -3) / 20) / np.sqrt((echo**2).sum())
    return samples + fftconvolve(samples, echo)[: len(samples)].astype(np.float32)


def unit(random, songs):
    total, parts = np.zeros(UNIT, np.float32), 0
    for _ in range(1_000):
        random.random()  # used by nothing any more; without it a number would be another sound than it was when docs/experiments.md was measured
        own = songs[random.integers(len(songs))]
        for name in STEMS:
            if random.random() < 0.15:
                continue
            song = own if random.random() < 0.35 else songs[random.integers(len(songs))]
            if name not in song:
                continue
            part = faster(random, song[name])
            for _ in range(random.integers(3)):
                part = toned(random, part)
            if random.random() < 0.25:
                part = in_room(random, part)
            level = np.sqrt((part**2).mean())
            if level >= 10 ** (-50 / 20):
                total += part / level * 10 ** (random.uniform(-12, 0) / 20)
                parts += 1
        if parts:
            break
    else:
        raise SystemExit("nearly all of the stems are silent, or all but some moments of them")
    for _ in range(random.integers(3)):
        total = toned(random, total)
    if random.random() < 0.2:
        total = in_room(random, total)
    total /= np.abs(total).max()
    if random.random() < 0.25:
        total = np.tanh(random.uniform(1, 5) * total)
        total /= np.abs(total).max()
    return (total * random.uniform(0.3, 0.95) * 32767).astype(np.int16)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=pathlib.Path, required=True)
    parser.add_argument("--data", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--unlabelled", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    train = json.loads(args.split.read_text())["train"]
    labelled = [root / "genres_stems" / song for song in train for root in args.data if (root / "genres_stems" / song).is_dir()]
    unlabelled = [song for folder in args.unlabelled for song in sorted(folder.glob("*")) if song.is_dir()]
    songs = [stems_of(song) for song in [*labelled, *unlabelled]]
    print(f"{len(labelled)} of the split's {len(train)} training songs, {len(unlabelled)} unlabelled ones; {sum(map(len, songs))} stems that sound")
    if not any(songs):
        raise SystemExit(f"none of the split's training songs is in {', '.join(map(str, args.data))}, and there is no unlabelled song with a stem")
    for number in range(args.first, args.first + args.count):
        folder = args.out / "genres_stems" / "stems" / f"{number:05}"
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "other.wav", unit(np.random.default_rng([4242, number]), songs), RATE)


main()
