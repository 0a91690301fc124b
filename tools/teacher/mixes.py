"""Short sounds that no file holds, for a student to learn from: pieces of 2 to 3.1 s, alone or two at once, each at another speed and with
another tilt of its spectrum, in the Messy Mashup layout (OUT/genres_stems/mixes/<number>/other.wav, 16 kHz mono).

    mixes.py --labelled POOL --split split.json --from FOLDER=SHARE [FOLDER=SHARE ...] --count 45000 [--first 0] --out OUT

A piece is of one of the folders of make_pool.py's pools (POOL/genres_stems/<source>), each of them as often as its share says, or, for what
the shares leave, of the training songs of the labelled pool. The same number is always the same sound, so that --first goes on.
"""
import argparse
import json
import pathlib

import numpy as np
import soundfile
import soxr
from scipy.signal import lfilter

RATE = 16_000
SPEED = np.log(1.25)


def piece(random, files, length):
    """`length` samples of one of the files, at 0.8 to 1.25 of its speed (and pitch), with a tilt of 9.5 dB at most; RMS 1, or None if silent."""
    path = files[random.integers(len(files))] / "other.wav"
    speed = np.exp(random.uniform(-SPEED, SPEED))
    needed = int(length * speed) + 64
    start = random.integers(0, max(soundfile.info(path).frames - needed, 0) + 1)
    samples = soundfile.read(path, start=start, frames=needed, dtype="float32")[0]
    samples = soxr.resample(np.resize(samples, needed), RATE * speed, RATE, "MQ")[:length]
    samples = np.pad(samples, (0, length - len(samples)))
    tilt = random.uniform(-0.5, 0.5)
    samples = lfilter([1, tilt], [1], samples).astype(np.float32) / (1 + abs(tilt))
    level = np.sqrt((samples**2).mean())
    return samples / level if level > 10 ** (-50 / 20) else None


def mix(random, sources, shares):
    def one():
        return piece(random, sources[random.choice(len(sources), p=shares)], length)

    length, first = int(random.uniform(2, 3.1) * RATE), None
    while first is None:
        first = one()
    if random.random() < 0.55:
        second = one()
        if second is not None:
            first = first + 10 ** (random.uniform(-15, 0) / 20) * second
    return first / np.abs(first).max() * random.uniform(0.3, 0.95)


def source(text):
    """FOLDER=SHARE -> the sounds of the folder and its share; argparse says what is wrong with another text."""
    folder, share = text.rsplit("=", 1)
    # Pieces of the same windows (make_pool.py --pieces) would bring nothing new.
    return sorted(path for path in pathlib.Path(folder).glob("*") if not path.name.endswith(".piece")), float(share)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", type=pathlib.Path, required=True)
    parser.add_argument("--split", type=pathlib.Path, required=True)
    parser.add_argument("--from", nargs="+", dest="sources", type=source, metavar="FOLDER=SHARE", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    songs = [args.labelled / "genres_stems" / song for song in json.loads(args.split.read_text())["train"]]
    sources = [[song for song in songs if song.exists()], *(sounds for sounds, _ in args.sources)]
    shares = [share for _, share in args.sources]
    shares.insert(0, 1 - sum(shares))
    print(f"training songs, then the folders: {[len(source) for source in sources]} sounds, shares {[round(share, 3) for share in shares]}")
    if not all(sources) or min(shares) < 0:
        raise SystemExit("every source needs sounds, and the shares may sum to 1 at most")
    for number in range(args.first, args.first + args.count):
        folder = args.out / "genres_stems" / "mixes" / f"{number:05}"
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "other.wav", mix(np.random.default_rng([2026, number]), sources, shares), RATE)


main()
