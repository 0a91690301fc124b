"""Speed and memory beside the peers, on the same machine, weights and inputs, in turns.

    cargo build --release && cargo build --release --example bench
    tools/reference.sh bench_peers.py [--quick] [--rounds N] [--repeats N] [--only NAME ...]

What is measured, and who the peers are:

  forward-*   logits of a model in single precision: OpenVINO, and for one clip torch in inference mode
  int8-*      the same with weights in eight bits: OpenVINO with a model that nncf calibrated and quantised
              (transformer, mixed preset), onnxruntime with dynamic quantisation, and OpenVINO in single precision,
              because processors without VNNI may be slower in int8
  train-*     one training step: forward, backward, AdamW (no clipping); torch. And the most memory that a process of
              its own holds which does two steps
  features    log mel energies of 10 s of sound; torchaudio.compliance.kaldi.fbank
  decode-*    four minutes of 44.1 kHz stereo from a file to mono samples at 16 kHz: librosa.load, and the program
              ffmpeg
  start-*     one question, from the start of the program to the answer, and the most memory held: `messymash classify`
              of a file of 30 s beside a Python program that calls transformers.pipeline. bundled: the model inside our
              program (all of the file) beside the pipeline with AST-tiny (the first ten seconds, as always); base: both
              with the same AST-base and the first ten seconds; base-int8: ours after `messymash quantize`
  folder      200 files of 30 s in four formats, the whole of each, with the bundled model: our program beside OpenVINO
              in one process with one thread for each core. And how busy the cores were, and whether memory grows with
              the number of files

`base` is AST-base (768 wide, 12 layers, 12 heads, 1214 tokens, 10 labels), `tiny` AST-tiny (192 wide, 12 layers, 3
heads), both with seeded weights; `bundled` is models/default (192 wide, 6 layers, 130 tokens). b1 and b8 are one and
eight clips in a batch; t1 is one thread where others have two. All sound is seeded music (bench_sounds.py).

First the sides must agree, or the row fails and nothing of it is timed:

  forward, train   logits of ours and OpenVINO within 1e-4 of torch's
  int8             eight inputs: ours within a tenth of the range of torch's logits, and with the same best label
                   wherever the best two lie further apart than twice the difference of ours or OpenVINO's int8,
                   whichever is smaller
  features         within 1e-3
  decode           within 50 ms of librosa's length, a correlation with it above 0.999, as loud within 1 %
  start            scores within 1e-4 (bundled: of a pipeline with the same model), in int8 within 0.05 and in a file of
                   at most 0.4 of the size; on 16 kHz mono, where no resampler and no mixing down comes between
  folder           scores of every file within 0.02, for the peer has its own decoders and its own resampler

Then they take turns: each round is `--repeats` runs of every peer and as many of ours, in another order each round, so
that a busy moment of the machine hits all. One run before each turn does not count (the programs of start and folder
had theirs when they were compared; so had the peers where eight clips are a run). Short work is repeated ten times as
often (features, bundled) or three times (decode); the longest (b8) takes one run in at most two turns. The table gives
medians over all rounds and the ratio of ours to the fastest peer's; the ratio is what may be quoted, milliseconds
belong to one machine on one day. `asked` is what the project set itself. A row that fails says so, does not stop the
rest and makes this program end with 1; one that misses what was asked is called missed and does not.

All of it takes about forty minutes on two cores.

Ours are two programs: `messymash`, and `bench forward|train|features|decode`, made for this. It takes --config
base|tiny|bundled, --batch N, --threads N, --precision f32|int8, --model DIR and --repeats N, does the work once
uncounted and then prints a line {"ms": ...} a run. With `--input FILE --output FILE` it reads a tensor input_values
[batch, 1024, 128] and writes logits [batch, 10]; for features it reads samples [n] and writes fbank [frames, 128]; for
decode the input is a sound file, and samples are written. --repeats 0 only writes.

It needs Linux, ffmpeg, 2 GB in the folder for temporary files and 8 GB of memory.
"""

import argparse
import csv
import datetime
import functools
import gc
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers.utils import logging

import bench_models
import bench_sounds

ROOT = bench_models.ROOT
TOOLS = pathlib.Path(__file__).resolve().parent
PACKAGES = ("torch", "torchaudio", "transformers", "openvino", "nncf", "onnxruntime", "librosa")
SIMD = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
OURS = "messymash"
LOGITS_WITHIN = SCORES_WITHIN = 1e-4
FEATURES_WITHIN = 1e-3
# Of the range of the logits in single precision.
INT8_LOGITS_WITHIN = 0.1
INT8_SCORES_WITHIN = 0.05
# Of the file that was quantised; eight bits are a quarter of it.
INT8_BYTES_WITHIN = 0.4
# Decoded sound: seconds, and parts of 1.
LENGTH_WITHIN, CORRELATION_ABOVE, LEVEL_WITHIN = 0.05, 0.999, 0.01
FOLDER_SCORES_WITHIN = 0.02
FILES, FEW_FILES = 200, 50
# What the project set itself beside the ratios of the rows.
BUSY_ABOVE, GROWTH_WITHIN = 0.95, 1.1
CHECKED = 8
KIB = 1024


def check(holds, text):
    if not holds:
        raise RuntimeError(text)


# ---- running things -------------------------------------------------------------------------------------------------


def environment():
    """This one, without what would change what our program does or bury what it says of an error, and nobody asks the
    network."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MESSYMASH_MODEL", "MESSYMASH_THREADS")}
    return {**kept, "RUST_BACKTRACE": "0", "HF_HUB_OFFLINE": "1"}


def fail(command, code, stderr):
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    shown = " ".join(map(str, command[:12])) + (" ..." if len(command) > 12 else "")
    raise RuntimeError(f"{shown} ended with {code}: {' '.join(lines[-3:])}")


def bench(options, command, arguments, threads, repeats):
    """Milliseconds of each run of our bench program."""
    check(options.bench.is_file(), f"{options.bench} does not exist; run `cargo build --release --example bench`")
    call = [options.bench, command, *map(str, arguments), "--threads", str(threads), "--repeats", str(repeats)]
    run = subprocess.run(call, capture_output=True, text=True, env=environment())
    if run.returncode != 0:
        fail(call, run.returncode, run.stderr)
    times = [json.loads(line)["ms"] for line in run.stdout.splitlines() if line.strip()]
    check(len(times) == repeats, f"{' '.join(map(str, call))} gave {len(times)} times, not {repeats}")
    return times


def processes(commands):
    """Runs commands at the same time. Returns milliseconds from the first start to the last end, seconds of processor
    time, MiB of memory (the sum of what each held at most) and what each wrote to stdout."""
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for number, command in enumerate(commands):
            figures = pathlib.Path(folder) / str(number)
            launch = [sys.executable, "-I", "-S", TOOLS / "bench_child.py", "launch", figures, *command]
            # Files and not pipes, which would stop a program that writes while nobody reads.
            out, err = (open(f"{figures}.{stream}", "w+") for stream in ("out", "err"))
            child = subprocess.Popen(list(map(str, launch)), stdout=out, stderr=err, env=environment())
            started.append((command, figures, child, out, err))
        starts, ends, processor, memory, answers = [], [], 0.0, 0.0, []
        # All are waited for before any may fail, so that none outlives this.
        codes = [child.wait() for _, _, child, _, _ in started]
        for (command, figures, _, out, err), code in zip(started, codes):
            with out, err:
                out.seek(0)
                err.seek(0)
                if code != 0:
                    fail(command, code, err.read())
                answers.append(out.read())
            start, end, seconds, kib = map(float, figures.read_text().split())
            starts.append(start)
            ends.append(end)
            processor += seconds
            memory += kib / KIB
    return {"ms": 1000 * (max(ends) - min(starts)), "processor": processor, "mib": memory, "answers": answers}


def process(command):
    return processes([command])


def python_child(program, *arguments):
    return [sys.executable, TOOLS / "bench_child.py", program, *arguments]


def program(options):
    check(options.binary.is_file(), f"{options.binary} does not exist; run `cargo build --release`")
    return options.binary


def classify(options, *arguments):
    """Our program's command."""
    return [program(options), "classify", *arguments]


def in_process(work, warm=True):
    """A side that is a Python function."""

    def turn(repeats):
        if warm:
            work()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
        return times

    return turn


def take_turns(sides, rounds, repeats):
    """{name: what each run gave}, from {name: a function of the number of runs}."""
    runs, names = {name: [] for name in sides}, list(sides)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            runs[name] += sides[name](repeats)
    return runs


# ---- the table ------------------------------------------------------------------------------------------------------


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    median = number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({number(min(values))} to {number(max(values))})"


def cells(*texts):
    return "| " + " | ".join(" ".join(str(text).replace("|", "\\|").split()) for text in texts) + " |"


def line(work, batch, threads, runs, asked, difference):
    """A line of the table from {side: figures}; the ratio is that of the medians, to the best peer."""
    medians = {name: statistics.median(values) for name, values in runs.items()}
    ratio = medians[OURS] / min(value for name, value in medians.items() if name != OURS)
    peers = ", ".join(f"{name} {spread(values)}" for name, values in runs.items() if name != OURS)
    return cells(work, batch, threads, peers, spread(runs[OURS]), f"**{ratio:.3g}**",
                 asked_for("<=", asked, asked is None or ratio <= asked), difference, len(runs[OURS]))


def asked_for(sign, asked, met):
    return "" if asked is None else f"{sign} {asked:g}" + ("" if met else ", missed")


# ---- rows: each yields lines of the table ---------------------------------------------------------------------------


def ours_writes(options, command, arguments, name, made, threads):
    """The tensor that our bench program writes."""
    made.unlink(missing_ok=True)
    bench(options, command, [*arguments, "--output", made], threads, 0)
    check(made.is_file(), f"bench {command} wrote nothing")
    return load_file(made)[name]


def model_arguments(config, batch, folder):
    """What our bench program is told of the model and its inputs."""
    given = folder / f"input_values_{batch}.safetensors"
    if not given.exists():
        save_file({"input_values": bench_models.inputs(batch)}, given)
    model = bench_models.directory_of(config, folder)
    return ["--config", config, "--batch", batch, "--model", model, "--input", given]


def ours_logits(options, folder, config, batch, threads, precision):
    """Logits of the first `batch` inputs."""
    arguments = [*model_arguments(config, batch, folder), "--precision", precision]
    return ours_writes(options, "forward", arguments, "logits", folder / "output.safetensors", threads)


def distance(found, expected, who):
    """The largest difference."""
    check(found.shape == expected.shape, f"{who}: shape {list(found.shape)}, not {list(expected.shape)}")
    check(np.isfinite(found).all(), f"{who}: some numbers are not finite")
    return float(np.abs(found - expected).max())


def near(found, expected, within, who):
    difference = distance(found, expected, who)
    check(difference <= within, f"{who} is off by {difference:.1e}; allowed are {within:.1e}")
    return difference


def forward(options, folder, name, config, batch, threads, asked):
    expected, given = bench_models.expected(config, folder, batch), bench_models.inputs(batch)
    openvino = bench_models.openvino_forward(config, folder, batch, threads)
    ours_off = near(ours_logits(options, folder, config, batch, threads, "f32"), expected, LOGITS_WITHIN, OURS)
    openvino_off = near(openvino(given), expected, LOGITS_WITHIN, "openvino")
    peers = {"openvino": openvino}
    if batch == 1:
        peers["torch"] = bench_models.torch_forward(config, folder)
    runs = take_turns_forward(options, folder, config, batch, threads, "f32", peers)
    yield line(name, batch, threads, runs, asked, f"{ours_off:.0e} (openvino {openvino_off:.0e})")


def take_turns_forward(options, folder, config, batch, threads, precision, peers):
    given, single = bench_models.inputs(batch), batch == 1
    arguments = [*model_arguments(config, batch, folder), "--precision", precision]
    sides = {name: in_process(functools.partial(peer, given), warm=single) for name, peer in peers.items()}
    sides[OURS] = lambda repeats: bench(options, "forward", arguments, threads, repeats)
    # A run of the bundled model takes milliseconds, one of eight clips by AST-base half a minute.
    if not single:
        return take_turns(sides, min(options.rounds, 2), 1)
    return take_turns(sides, options.rounds, (10 if config == "bundled" else 1) * options.repeats)


def int8(options, folder, name, config, batch, threads, asked):
    agreement = int8_agreement(options, folder, config)
    peers = {
        "openvino int8": bench_models.openvino_forward(config, folder, batch, threads, "int8"),
        "openvino fp32": bench_models.openvino_forward(config, folder, batch, threads),
        "onnxruntime int8": bench_models.onnxruntime_int8(config, folder, threads),
    }
    expected, given = bench_models.expected(config, folder, batch), bench_models.inputs(batch)
    for peer, logits in peers.items():
        # How far off a peer's int8 is, is its own affair.
        near(logits(given), expected, LOGITS_WITHIN if peer == "openvino fp32" else np.inf, peer)
    runs = take_turns_forward(options, folder, config, batch, threads, "int8", peers)
    yield line(name, batch, threads, runs, asked, agreement)


# What int8_agreement found, by configuration: four rows share AST-base's, which takes a minute.
AGREEMENTS = {}


def int8_agreement(options, folder, config):
    """What the table says of the eight inputs that are compared; fails if ours are too far off."""
    if config in AGREEMENTS:
        return AGREEMENTS[config]
    given, expected = bench_models.inputs(CHECKED), bench_models.expected(config, folder, CHECKED)
    ours = ours_logits(options, folder, config, CHECKED, 2, "int8")
    openvino = bench_models.openvino_forward(config, folder, 1, 2, "int8")
    theirs = np.concatenate([openvino(one[None]) for one in given])
    ours_off = near(ours, expected, INT8_LOGITS_WITHIN * float(np.ptp(expected)), f"{OURS} int8")
    theirs_off = distance(theirs, expected, "openvino int8")
    best = expected.argmax(axis=1)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = first - second > 2 * min(ours_off, theirs_off)
    wrong = np.flatnonzero(clear & (ours.argmax(axis=1) != best)).tolist()
    check(not wrong, f"{OURS} int8 has other best labels for the inputs {wrong}, where they are clear")
    same = [int((logits.argmax(axis=1) == best).sum()) for logits in (ours, theirs)]
    AGREEMENTS[config] = (f"{ours_off:.2g}, {same[0]} of {CHECKED} best labels the same "
                          f"(openvino int8 {theirs_off:.2g}, {same[1]} of {CHECKED})")
    return AGREEMENTS[config]


def train(options, folder, name, config, batch, threads, asked, asked_memory):
    expected, directory = bench_models.expected(config, folder, batch), bench_models.directory_of(config, folder)
    difference = near(ours_logits(options, folder, config, batch, threads, "f32"), expected, LOGITS_WITHIN, OURS)
    arguments = model_arguments(config, batch, folder)
    sides = {
        "torch": in_process(bench_models.training(directory, bench_models.inputs(batch))),
        OURS: lambda repeats: bench(options, "train", arguments, threads, repeats),
    }
    yield line(name, batch, threads, take_turns(sides, options.rounds, options.repeats), asked, f"{difference:.0e}")
    # Two steps of each: ours does one before the one that it counts.
    ours = [options.bench, "train", *arguments, "--threads", threads, "--repeats", 1]
    memory = {
        "torch": [process(python_child("train", directory, batch, threads))["mib"]],
        OURS: [process(ours)["mib"]],
    }
    yield line(f"{name}: peak MiB", batch, threads, memory, asked_memory, "")


def features(options, folder, name, threads, asked):
    import torchaudio.compliance.kaldi as kaldi

    samples, given = bench_sounds.music(10, 16_000, seed=3).mean(axis=1), folder / "samples.safetensors"
    save_file({"samples": samples}, given)

    def peer():
        return kaldi.fbank(
            torch.from_numpy(samples)[None], htk_compat=True, sample_frequency=16_000, use_energy=False,
            window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
        )

    fbank = ours_writes(options, "features", ["--input", given], "fbank", folder / "output.safetensors", threads)
    difference = near(fbank, peer().numpy(), FEATURES_WITHIN, OURS)
    sides = {
        "torchaudio": in_process(peer),
        OURS: lambda repeats: bench(options, "features", ["--input", given], threads, repeats),
    }
    runs = take_turns(sides, options.rounds, 10 * options.repeats)
    yield line(name, 1, threads, runs, asked, f"{difference:.0e}")


def same_sound(found, expected, who, level=True):
    """How far the correlation is from 1."""
    seconds = abs(len(found) - len(expected)) / 16_000
    check(seconds <= LENGTH_WITHIN, f"{who} is {seconds:.3f} s longer or shorter")
    count = min(len(found), len(expected))
    found, expected = found[:count].astype(np.float64), expected[:count].astype(np.float64)
    correlation = found @ expected / np.sqrt((found @ found) * (expected @ expected))
    check(correlation > CORRELATION_ABOVE, f"{who} has a correlation of {correlation:.6f}")
    gain = np.sqrt((found @ found) / (expected @ expected))
    check(not level or abs(gain - 1) <= LEVEL_WITHIN, f"{who} is {gain:.3f} times as loud")
    return 1 - correlation


def decode(options, folder, name, suffix, threads, asked):
    import librosa

    file = bench_sounds.long_file(folder, suffix)

    def peer():
        return librosa.load(file, sr=16_000, mono=True)[0]

    call = [bench_sounds.ffmpeg(), "-v", "error", "-i", file, "-ac", "1", "-ar", "16000", "-f", "f32le", "-"]

    def ffmpeg(to=subprocess.DEVNULL):
        return subprocess.run(call, stdout=to, check=True).stdout

    samples = ours_writes(options, "decode", ["--input", file], "samples", folder / "output.safetensors", threads)
    expected = peer()
    difference = same_sound(samples.reshape(-1), expected, OURS)
    # ffmpeg mixes down with another gain.
    same_sound(np.frombuffer(ffmpeg(subprocess.PIPE), dtype="<f4"), expected, "ffmpeg", level=False)
    sides = {
        "librosa": in_process(peer),
        "ffmpeg": in_process(ffmpeg),
        OURS: lambda repeats: bench(options, "decode", ["--input", file], threads, repeats),
    }
    runs = take_turns(sides, options.rounds, 3 * options.repeats)
    yield line(name, 1, threads, runs, asked, f"1 - correlation {difference:.0e}")


def scores(answer):
    """{label: score} from what our program printed for one file."""
    (heard,) = json.loads(answer)
    check("predictions" in heard, f"{OURS}: {heard.get('error')}")
    return {prediction["label"]: prediction["score"] for prediction in heard["predictions"]}


def same_scores(found, expected, within, who):
    """The largest difference of a score, of those that `found` tells; it need not tell all labels."""
    check(found and found.keys() <= expected.keys(), f"{who} tells labels {sorted(found)}, not of {sorted(expected)}")
    difference = max(abs(found[label] - expected[label]) for label in found)
    check(difference <= within, f"{who}: a score is off by {difference:.1e}; allowed are {within:.0e}")
    best = max(found, key=found.get)
    check(max(expected.values()) - expected[best] <= 2 * within, f"{who}: the best label is {best}")
    return difference


def start(options, folder, name, kind, threads, asked, asked_memory):
    stereo, mono = bench_sounds.start_files(folder)
    model = bench_models.directory_of("tiny" if kind == "bundled" else "base", folder)
    # What ours is told, what it is told besides for the comparison, and the model of the pipeline that it is compared
    # with: the one that is timed, but for the bundled model.
    chosen, also, same, within = ["--model", model, "--windows", "first"], [], model, SCORES_WITHIN
    if kind == "bundled":
        chosen, also, same = [], ["--windows", "first"], bench_models.directory_of("bundled", folder)
    elif kind == "base-int8":
        chosen, within = ["--model", quantized(options, model, folder), "--windows", "first"], INT8_SCORES_WITHIN
    ours = [*chosen, "--format", "json", "--threads", threads]
    found = scores(process(classify(options, mono, *also, *ours))["answers"][0])
    expected = json.loads(process(python_child("pipeline", same, mono))["answers"][0])
    difference = same_scores(found, expected, within, OURS)
    commands = {"pipeline": python_child("pipeline", model, stereo), OURS: classify(options, stereo, *ours)}

    def turn(command, repeats):
        return [process(command) for _ in range(repeats)]

    for command in commands.values():
        process(command)
    sides = {side: functools.partial(turn, command) for side, command in commands.items()}
    figures = take_turns(sides, options.rounds, options.repeats)
    yield line(name, 1, threads, each(figures, "ms"), asked, f"{difference:.0e}")
    yield line(f"{name}: peak MiB", 1, threads, each(figures, "mib"), asked_memory, "")


def quantized(options, model, folder):
    """The directory that `messymash quantize` makes of a model."""
    small = folder / f"{model.name}-int8"
    if not small.exists():
        process([program(options), "quantize", model, small])
    sizes = [(directory / "model.safetensors").stat().st_size for directory in (small, model)]
    check(sizes[0] <= INT8_BYTES_WITHIN * sizes[1], f"quantize wrote {sizes[0]} bytes of {sizes[1]}")
    return small


def each(figures, unit):
    return {side: [run[unit] for run in runs] for side, runs in figures.items()}


def folder_answers(ours, theirs):
    """The largest difference of a score between our table and what the peer's processes printed, of the same files."""
    expected = {}
    for answer in theirs:
        for told in map(json.loads, answer.splitlines()):
            expected[pathlib.Path(told["file"]).name] = told["scores"]
    found = {pathlib.Path(row["file"]).name: row for row in csv.DictReader(ours.splitlines())}
    check(found.keys() == expected.keys(), f"{OURS} heard {len(found)} files, openvino {len(expected)}")
    worst = 0.0
    for name, answer in expected.items():
        check(not found[name]["error"], f"{OURS}: {name}: {found[name]['error']}")
        mine = {label: float(found[name][label]) for label in answer}
        worst = max(worst, same_scores(mine, answer, FOLDER_SCORES_WITHIN, f"{OURS}: {name}"))
    return worst


def whole_folder(options, folder, name, cores):
    model, ir = bench_models.directory_of("bundled", folder), bench_models.openvino_file("bundled", folder)

    def peer(files):
        parts = [part.tolist() for part in np.array_split(list(map(str, files)), cores)]
        return processes([python_child("folder", model, ir, 1, *part) for part in parts])

    def ours(directory):
        return process(classify(options, directory, "--format", "csv", "--threads", cores))

    # The few come first: both must agree on them, and their memory is what that of the many is compared with.
    directory, files = bench_sounds.collection(folder, FEW_FILES)
    few = ours(directory)
    worst = folder_answers(few["answers"][0], peer(files)["answers"])
    directory, files = bench_sounds.collection(folder, FILES)
    figures = take_turns({"openvino": lambda _: [peer(files)], OURS: lambda _: [ours(directory)]}, options.rounds, 1)
    for mine, theirs in zip(figures[OURS], figures["openvino"]):
        worst = max(worst, folder_answers(mine["answers"][0], theirs["answers"]))
    yield line(name, 1, cores, each(figures, "ms"), None, f"{worst:.0e}")
    yield line(f"{name}: peak MiB of all processes", 1, cores, each(figures, "mib"), None, "")
    busy = {side: [run["processor"] / (run["ms"] / 1000 * cores) for run in runs] for side, runs in figures.items()}
    yield cells(f"{name}: part of the cores busy", 1, cores, f"openvino {spread(busy['openvino'])}", spread(busy[OURS]),
                "", asked_for(">", BUSY_ABOVE, statistics.median(busy[OURS]) > BUSY_ABOVE), "", len(busy[OURS]))
    most = [run["mib"] for run in figures[OURS]]
    growth = statistics.median(most) / few["mib"]
    yield cells(f"{name}: peak MiB, {FILES} files beside {FEW_FILES}", 1, cores,
                f"{OURS} with {FEW_FILES} files {number(few['mib'])}", spread(most), f"**{growth:.3g}**",
                asked_for("<=", GROWTH_WITHIN, growth <= GROWTH_WITHIN), "", len(most))


CORES = len(os.sched_getaffinity(0))
# name: (function, what it is given)
ROWS = {
    "forward-base-b1": (forward, dict(config="base", batch=1, threads=2, asked=0.87)),
    "forward-base-b8": (forward, dict(config="base", batch=8, threads=2, asked=0.87)),
    "forward-base-b1-t1": (forward, dict(config="base", batch=1, threads=1, asked=0.87)),
    "forward-base-b8-t1": (forward, dict(config="base", batch=8, threads=1, asked=0.87)),
    "forward-tiny-b1": (forward, dict(config="tiny", batch=1, threads=2, asked=0.8)),
    "forward-bundled-b1": (forward, dict(config="bundled", batch=1, threads=2, asked=0.8)),
    "int8-base-b1": (int8, dict(config="base", batch=1, threads=2, asked=0.8)),
    "int8-base-b8": (int8, dict(config="base", batch=8, threads=2, asked=0.8)),
    "int8-base-b1-t1": (int8, dict(config="base", batch=1, threads=1, asked=0.8)),
    "int8-base-b8-t1": (int8, dict(config="base", batch=8, threads=1, asked=0.8)),
    "int8-tiny-b1": (int8, dict(config="tiny", batch=1, threads=2, asked=0.8)),
    "int8-bundled-b1": (int8, dict(config="bundled", batch=1, threads=2, asked=0.8)),
    "train-base": (train, dict(config="base", batch=1, threads=2, asked=0.8, asked_memory=0.6)),
    "train-tiny": (train, dict(config="tiny", batch=8, threads=2, asked=0.8, asked_memory=0.6)),
    "features": (features, dict(threads=1, asked=0.4)),
    "decode-wav": (decode, dict(suffix="wav", threads=2, asked=0.6)),
    "decode-flac": (decode, dict(suffix="flac", threads=2, asked=0.6)),
    "decode-mp3": (decode, dict(suffix="mp3", threads=2, asked=0.6)),
    "decode-ogg": (decode, dict(suffix="ogg", threads=2, asked=0.6)),
    "start-bundled": (start, dict(kind="bundled", threads=CORES, asked=0.03, asked_memory=0.1)),
    "start-base": (start, dict(kind="base", threads=CORES, asked=0.15, asked_memory=0.6)),
    "start-base-int8": (start, dict(kind="base-int8", threads=CORES, asked=0.08, asked_memory=0.3)),
    "folder": (whole_folder, dict(cores=CORES)),
}


# ---- the program ----------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(
        description="Measures the peers and messymash in turns.", epilog=f"Rows: {', '.join(ROWS)}.",
    )
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "target/release/examples/bench")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/messymash")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default 3; b8 at most 2)")
    parser.add_argument("--repeats", type=int, default=1,
                        help="counted runs in a turn (default 1; features and bundled 10 times that, decode 3 times)")
    parser.add_argument("--quick", action="store_true", help="one round of one run, to see that it works")
    parser.add_argument("--only", action="append", choices=ROWS, metavar="NAME", help="a row; repeatable")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.repeats = 1
    if options.rounds < 1 or options.repeats < 1:
        parser.error("--rounds and --repeats must be at least 1")
    return options


def processor():
    """(name, those of the instruction sets of interest that it has)"""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    has = facts.get("flags", "").split()
    return facts.get("model name", "unknown processor"), [name for name in SIMD if name in has]


def header():
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    try:
        told = subprocess.run([bench_sounds.ffmpeg(), "-version"], capture_output=True, text=True).stdout.split()
        versions.append(f"ffmpeg {told[2] if len(told) > 2 else 'of unknown version'}")
    except RuntimeError:
        pass
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    name, has = processor()
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"messymash (commit {commit.stdout.strip() or 'unknown'}) beside {', '.join(versions)}; {name}, "
          f"{CORES} cores, {' '.join(has) or 'no SIMD of interest'}; {today}\n")
    print(cells("work", "batch", "threads", "peers, ms: median (range)", "messymash, ms: median (range)",
                "ratio to the fastest peer", "asked", "largest difference of the results", "runs of each"))
    print("|---|---|---|---|---|---|---|---|---|", flush=True)


def main():
    options = arguments()
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    header()
    failed = missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only or ROWS:
            row, given = ROWS[name]
            torch.set_num_threads(given.get("threads", 1))
            try:
                for text in row(options, pathlib.Path(folder), name, **given):
                    missed += ", missed |" in text
                    print(text, flush=True)
            except Exception as error:
                failed += 1
                traceback.print_exc()
                what = " ".join(f"{type(error).__name__}: {error}".split())
                told = [name, given.get("batch", ""), given.get("threads", ""), f"**failed: {what[:300]}**"]
                print(cells(*told, *[""] * 5), flush=True)
            gc.collect()
    print(f"\n{failed} rows failed; {missed} lines missed what was asked.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
