"""Sound for a student to learn from: windows of 10.26 s (16 kHz mono) in the Messy Mashup layout, a "song" each.

    make_pool.py --music DIR [DIR...] --out POOL [--windows 4000]    windows of every sound file (no wav: those are mostly effects), evenly spaced, few of each
    make_pool.py --mashups DIR [DIR...] --out POOL                   what `messymash remix` wrote
    make_pool.py --songs DIR --out POOL                              labelled songs, DIR/<genre>/<file>, each whole
    make_pool.py --pieces 14000 --out POOL                           pieces of 2 to 3 s, one each of so many of the windows that are there

POOL/genres_stems/<source>/<name>/other.wav; what is silent (RMS below -50 dB) or shorter than 8 s is left out (but for labelled songs and pieces).
"""
import argparse
import pathlib
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soundfile
import soxr

RATE, LENGTH = 16_000, 164_160
KINDS = {".ogg", ".mp3", ".flac", ".opus", ".m4a"}


def seconds_of(path):
    try:
        return soundfile.info(path).duration
    except soundfile.LibsndfileError:  # not a sound that libsndfile reads
        return 0.0


def cut(path, start):
    with soundfile.SoundFile(path) as file:
        file.seek(int(start * file.samplerate))
        samples = file.read(int(10.3 * file.samplerate), dtype="float32", always_2d=True).mean(1)
        return soxr.resample(samples, file.samplerate, RATE)[:LENGTH]


def keep(samples, out, source, name, least=8):
    if len(samples) >= least * RATE and np.sqrt(np.mean(samples**2)) >= 10 ** (-50 / 20):
        write(samples, out, source, name)


def write(samples, out, source, name):
    folder = out / "genres_stems" / source / re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "other.wav", np.clip(samples, -1, 1), RATE)


def cut_pieces(pool, count):
    """A piece of each of `count` windows, at a random place and 2 to 3 s long; the teacher hears 3 s at once."""
    random = np.random.default_rng(1)
    windows = sorted(path for path in pool.glob("genres_stems/*/*/other.wav") if not path.parent.name.endswith(".piece"))
    if count and not windows:
        raise SystemExit(f"{pool} has no windows to cut pieces from; make them first (--music, --mashups)")
    for number in sorted(random.permutation(len(windows))[:count]):
        samples = soundfile.read(windows[number], dtype="float32")[0]
        length = min(int(random.uniform(2, 3) * RATE), len(samples))
        start = random.integers(0, len(samples) - length + 1)
        folder = windows[number].parent
        keep(samples[start : start + length], pool, folder.parent.name, f"{folder.name}.piece", least=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--mashups", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--songs", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=4000)
    parser.add_argument("--pieces", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for root in args.mashups:
        for path in sorted(root.glob("**/*.wav")):
            keep(soundfile.read(path, dtype="float32")[0][:LENGTH], args.out, root.name, path.stem)
    for path in sorted(args.songs.glob("*/*")) if args.songs else []:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        write(soxr.resample(samples.mean(1), rate, RATE), args.out, path.parent.name, path.stem)
    files = sorted(p for root in args.music for p in root.glob("**/*") if p.suffix.lower() in KINDS and p.is_file())
    with ThreadPoolExecutor(2) as pool:
        lengths = list(pool.map(seconds_of, files))
        files = [(path, seconds) for path, seconds in zip(files, lengths) if seconds > 25]
        spacing = sum(seconds for _, seconds in files) / max(args.windows, 1)
        jobs = []
        for number, (path, seconds) in enumerate(files):
            count = max(1, round(seconds / spacing))
            # Not the first and last seconds, which fade.
            starts = np.linspace(3, seconds - 13, count + 2)[1:-1] if count > 1 else [seconds / 2 - 5]
            # Named as GTZAN names excerpts, so that all of a file lie on one side of a split.
            jobs += [(path, start, f"track.{number:05}.{int(start)}") for start in starts]
        list(pool.map(lambda job: keep(cut(job[0], job[1]), args.out, "music", job[2]), jobs))
    cut_pieces(args.out, args.pieces)


main()
