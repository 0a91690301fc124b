"""How much `messymash separate` separates: median SI-SDR against true stems, over that of leaving the song as it is.

    cargo build --release
    pip install numpy==2.4.6 soundfile==0.13.1
    python3 tools/measure_separation.py STEMS [--binary FILE]

STEMS holds one folder per song with {drums,vocals,bass,other}.flac or .wav, mono, of one rate. The stems of each song are
summed, the sum is separated, and every part is compared with the true stem.
"""

import argparse
import pathlib
import subprocess
import tempfile

import numpy as np
import soundfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEMS = ("drums", "vocals", "bass", "other")


def load(folder, stem):
    for suffix in (".flac", ".wav"):
        path = folder / (stem + suffix)
        if path.is_file():
            samples, rate = soundfile.read(path, always_2d=True)
            return samples.mean(axis=1), rate
    raise SystemExit(f"{folder} lacks {stem}")


def si_sdr(estimate, truth):
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019)."""
    target = (estimate @ truth) / (truth @ truth + 1e-9) * truth
    return 10 * np.log10((target @ target + 1e-9) / (((estimate - target) ** 2).sum() + 1e-9))


def main():
    parser = argparse.ArgumentParser(description="Measures messymash separate against true stems.")
    parser.add_argument("stems", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/messymash")
    options = parser.parse_args()
    gains = {stem: [] for stem in STEMS}
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        truths = {}
        (work / "songs/all").mkdir(parents=True)
        for folder in sorted(path for path in options.stems.iterdir() if path.is_dir()):
            loaded = {stem: load(folder, stem) for stem in STEMS}
            rate = loaded["drums"][1]
            stems = {stem: samples for stem, (samples, _) in loaded.items()}
            song = sum(stems.values())
            # Full scale is 1: a louder sum would be clipped in the file.
            scale = min(1.0, 0.99 / np.abs(song).max())
            truths[folder.name] = ({stem: scale * samples for stem, samples in stems.items()}, scale * song)
            soundfile.write(work / "songs/all" / f"{folder.name}.wav", scale * song, rate, subtype="PCM_16")
        subprocess.run([options.binary, "separate", work / "songs", work / "out"], check=True, stdout=subprocess.DEVNULL)
        for name, (stems, song) in truths.items():
            for stem in STEMS:
                if np.abs(stems[stem]).max() < 1e-3:
                    continue  # nothing to find: a silent stem has no ratio
                part, _ = soundfile.read(work / "out/genres_stems/all" / name / f"{stem}.wav")
                gains[stem].append((si_sdr(part, stems[stem]), si_sdr(song, stems[stem])))
    print("| stem | songs | song as it is, dB | separated, dB | gain, dB |")
    print("|---|---:|---:|---:|---:|")
    for stem, pairs in gains.items():
        pairs = np.array(pairs)
        print(f"| {stem} | {len(pairs)} | {np.median(pairs[:, 1]):.1f} | {np.median(pairs[:, 0]):.1f} | "
              f"{np.median(pairs[:, 0] - pairs[:, 1]):+.1f} |")


if __name__ == "__main__":
    main()
