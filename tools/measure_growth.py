"""How time and memory grow: with the length of a file, the number of files, threads, batch and the size of the model.

    cargo build --release && cargo build --release --example bench
    tools/reference.sh measure_growth.py [--binary FILE] [--bench FILE] [--plot docs/growth.svg] [--longest SECONDS]

Prints one Markdown table and draws the first two parts of it. Every line is the median of three processes (one for files of
an hour and more), wall time from the start of the process to its end, memory the most that was resident. The sound is seeded
noise at 16 kHz, 16 bits, made into a temporary folder (ten hours take 1.2 GB there); the model is the one in the program
unless a line says otherwise.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import wave

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE = 16_000
LENGTHS = [10, 60, 600, 3600, 36_000]
COUNTS = [1, 10, 100, 1000]


def arguments():
    parser = argparse.ArgumentParser(description="Measures how time and memory grow.")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/messymash")
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "target/release/examples/bench")
    parser.add_argument("--plot", type=pathlib.Path, default=ROOT / "docs/growth.svg")
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="seconds of the longest file (default ten hours)")
    options = parser.parse_args()
    for program in (options.binary, options.bench):
        if not program.is_file():
            parser.error(f"{program} does not exist; build it first (see the head of this file)")
    return options


def write_noise(path, seconds, seed):
    """A wav file of noise whose level rises and falls, written second by second."""
    random = np.random.default_rng(seed)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        for second in range(seconds):
            level = 3000 * (1.5 + np.sin(second / 7))
            file.writeframes((level * random.standard_normal(RATE)).astype("<i2").tobytes())


def measured(command, times):
    """Median seconds and MiB of a command, and the output of its last run."""
    seconds, memory, output = [], [], b""
    with tempfile.NamedTemporaryFile() as figures:
        for _ in range(times):
            # Started by a small program: a process counts the memory of who starts it until its own program runs.
            launch = [sys.executable, ROOT / "tools/bench_child.py", "launch", figures.name, *command]
            run = subprocess.run([str(word) for word in launch], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if run.returncode != 0:
                sys.exit(f"{' '.join(map(str, command))} ended with {run.returncode}: {run.stderr.decode()}")
            start, end, _, most = pathlib.Path(figures.name).read_text().split()
            seconds.append(float(end) - float(start))
            memory.append(int(most) / 1024)
            output = run.stdout
    return statistics.median(seconds), statistics.median(memory), output


def line(what, size, seconds, memory):
    print(f"| {what} | {size} | {seconds:.3f} | {memory:.0f} |", flush=True)


def main():
    options = arguments()
    print("| grows | to | seconds | MiB at most |\n|---|---|---|---|")
    by_length, by_count = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for seconds in [n for n in LENGTHS if n <= options.longest]:
            path = folder / "long.wav"
            write_noise(path, seconds, seconds)
            took, memory, _ = measured([options.binary, "classify", path, "--format", "jsonl"], 1 if seconds >= 3600 else 3)
            by_length.append((seconds, took, memory))
            line("length of a file", f"{seconds} s", took, memory)
            path.unlink()
        songs = folder / "songs"
        songs.mkdir()
        for count in COUNTS:
            for number in range(count):
                path = songs / f"{number}.wav"
                if not path.exists():
                    write_noise(path, 30, number)
            took, memory, output = measured([options.binary, "classify", songs, "--format", "jsonl"], 1 if count >= 1000 else 3)
            if len(output.splitlines()) != count:
                sys.exit(f"{count} files gave {len(output.splitlines())} answers")
            by_count.append((count, took, memory))
            line("number of files of 30 s", count, took, memory)
        minutes = folder / "ten-minutes.wav"
        write_noise(minutes, 600, 1)
        for threads in range(1, (os.cpu_count() or 1) + 1):
            took, memory, _ = measured([options.binary, "classify", minutes, "--threads", threads], 3)
            line("threads (file of 600 s)", threads, took, memory)
        for batch in [1, 4, 16, 64]:
            took, memory, _ = measured([options.binary, "classify", minutes, "--batch", batch], 3)
            line("batch (file of 600 s)", batch, took, memory)
    for size in ["bundled", "tiny", "base"]:
        for precision in ["f32", "int8"]:
            command = [options.bench, "forward", "--config", size, "--precision", precision, "--repeats", 5]
            _, memory, output = measured(command, 1)
            took = statistics.median(json.loads(row)["ms"] for row in output.splitlines()) / 1000
            # The memory is that of making the model too, which holds it in f32 for a moment.
            line("size of the model (one window)", f"{size} {precision}", took, memory)
    draw(options.plot, by_length, by_count)


def draw(path, by_length, by_count):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, points, label in [(axes[0], by_length, "seconds of sound in one file"), (axes[1], by_count, "files of 30 s")]:
        x, seconds, memory = zip(*points)
        ax.loglog(x, seconds, "o-", color="#1f6f8b", label="time, s")
        ax.loglog(x, memory, "s--", color="#c8553d", label="memory at most, MiB")
        ax.set_xlabel(label)
        ax.grid(alpha=0.3)
        ax.legend(frameon=False)
    plt.rcParams["svg.hashsalt"] = "messymash"
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
