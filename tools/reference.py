"""Live parity: does messymash answer what transformers answers? This is behind `make reference`.

    cargo build --release
    tools/reference.sh [--binary FILE] [--saved DIR ...] [--quick]

Golden files (golden_*.py) fix what PyTorch computed once, for pieces. This program runs both sides whole, from a sound
file to the scores of all labels, now:

  ours       messymash classify --model DIR --windows first --format json --top ALL FILE
  reference  transformers.pipeline("audio-classification", DIR, function_to_apply="softmax", top_k=None)

on sounds that it generates (16 kHz mono, so that no resampler is compared; 0.4 to 12 s, so that padding and cutting
are), with
  * the two small golden models, as transformers saved them;
  * a model of the size of AST-base (768 wide, 12 layers, 12 heads, 10 labels) with seeded weights, saved by transformers;
  * every directory given by --saved: one that `messymash train` wrote, which transformers must load without a key
    missing, left over or of another shape. Without --saved it is models/default, the bundled model.

It prints one Markdown table. It ends with 0 when every score is within 1e-4 of the reference's and the best label is the
same, and with 1 otherwise; also when a program or directory that it needs is missing: nothing is skipped in silence.
"""

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile
import wave

import numpy as np
import torch
from transformers import ASTFeatureExtractor, ASTForAudioClassification, pipeline
from transformers.utils import logging

import golden_features
import golden_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "crates/messymash/tests/golden/model"
RATE = 16_000
SCORES_WITHIN = 1e-4
# Two scores that close may change places; the labels are then equally good answers.
TIE = 2 * SCORES_WITHIN
BASE = dict(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, patch_size=16,
    frequency_stride=10, time_stride=10, num_mel_bins=128, max_length=1024, labels=golden_model.GENRES, seed=3,
)


def arguments():
    parser = argparse.ArgumentParser(description="Compares messymash with transformers, from sound file to scores.")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/messymash")
    parser.add_argument("--saved", type=pathlib.Path, action="append", metavar="DIR",
                        help="a model directory that messymash wrote (default: models/default); may be repeated")
    parser.add_argument("--quick", action="store_true", help="leave out the model of AST-base's size")
    options = parser.parse_args()
    options.saved = options.saved or [ROOT / "models/default"]
    return options


def write_sounds(folder):
    """(file, samples as messymash and the reference should both read them) of every generated sound."""
    sounds = []
    for name, samples in golden_features.clips().items():
        pcm = golden_features.to_pcm(samples)
        path = folder / f"{name}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", None))
            file.writeframes(pcm.tobytes())
        sounds.append((path, pcm.astype(np.float32) / np.float32(32768)))
    return sounds


def save_base(folder):
    golden_model.seeded_model(BASE).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)


def ours(binary, model, sound):
    """{label: score} by messymash."""
    command = [binary, "classify", "--model", model, "--windows", "first", "--format", "json", "--top", "100000", sound]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {run.returncode}: {run.stderr.strip()}")
    answer = json.loads(run.stdout)
    if isinstance(answer, list):
        (answer,) = answer
    return {prediction["label"]: prediction["score"] for prediction in answer["predictions"]}


def load(model):
    """The reference's pipeline; fails unless every key of the checkpoint found its place."""
    network, loading = ASTForAudioClassification.from_pretrained(model, dtype=torch.float32, output_loading_info=True)
    wrong = {kind: keys for kind, keys in loading.items() if keys}
    if wrong:
        raise RuntimeError(f"transformers does not take all of {model} as it is: {wrong}")
    extractor = ASTFeatureExtractor.from_pretrained(model)
    return pipeline("audio-classification", model=network.eval(), feature_extractor=extractor, device="cpu")


def reference(classify, samples):
    """{label: score} by transformers."""
    sound = {"raw": samples.copy(), "sampling_rate": RATE}
    return {answer["label"]: answer["score"] for answer in classify(sound, function_to_apply="softmax", top_k=None)}


def compare(mine, theirs):
    """(largest difference of a score, what is wrong or None)."""
    if mine.keys() != theirs.keys():
        return float("inf"), f"the labels differ: {sorted(mine.keys() ^ theirs.keys())}"
    difference = max(abs(mine[label] - theirs[label]) for label in theirs)
    if not difference <= SCORES_WITHIN:
        return difference, "the scores differ"
    best = max(mine, key=mine.get)
    if max(theirs.values()) - theirs[best] > TIE:
        return difference, "the best labels differ"
    return difference, None


def models(options, folder):
    """(what it is, its directory), made when its turn comes."""
    for name in ("small", "strided"):
        yield f"golden `{name}`", GOLDEN / name / "hf"
    if not options.quick:
        save_base(folder / "base")
        yield "AST-base's size, seeded", folder / "base"
    for saved in options.saved:
        yield f"saved by us: `{saved.resolve().name}`", saved


def header(options):
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch", "torchaudio"))
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    version = subprocess.run([options.binary, "--version"], capture_output=True, text=True).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"{version or 'messymash'} (commit {commit.stdout.strip() or 'unknown'}) beside {versions}; {today}\n")
    print("| model | labels | sound | best label | largest difference of a score | verdict |")
    print("|---|---|---|---|---|---|")


def main():
    options = arguments()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not options.binary.is_file():
        sys.exit(f"{options.binary} does not exist; run `cargo build --release`, or name the program with --binary")
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sounds = write_sounds(folder)
        header(options)
        for description, directory in models(options, folder):
            try:
                classify = load(directory)
            except (OSError, RuntimeError, ValueError) as error:
                failures += 1
                print(f"| {description} | | | | | **cannot be loaded by transformers: {error}** |")
                continue
            for path, samples in sounds:
                theirs = reference(classify, samples)
                best = max(theirs, key=theirs.get)
                try:
                    difference, wrong = compare(ours(options.binary, directory, path), theirs)
                except (OSError, RuntimeError, ValueError, KeyError) as error:
                    difference, wrong = float("nan"), " ".join(f"{type(error).__name__}: {error}".split())
                failures += wrong is not None
                verdict = "equal" if wrong is None else f"**{wrong}**"
                print(f"| {description} | {len(theirs)} | {path.stem} | {best} {theirs[best]:.4f} | {difference:.1e} | "
                      f"{verdict} |", flush=True)
    print(f"\n{failures} mismatches; allowed are {SCORES_WITHIN:.0e} in every score.")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
