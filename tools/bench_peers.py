"""Speed beside the peers: torch (with torchaudio) and messymash on the same machine, weights and inputs, in turns.

    cargo build --release --example bench
    tools/reference.sh bench_peers.py [--rounds N] [--repeats N] [--only NAME ...] [--bench FILE]

What is timed, in milliseconds:

  forward-base    AST-base (768 wide, 12 layers, 12 heads, 10 labels), one clip, 2 threads; torch in inference mode
  train-base      one training step of it, one clip, 2 threads: forward, backward, AdamW (no clipping)
  train-tiny      the same for AST-tiny (192 wide, 12 layers, 3 heads), eight clips, 2 threads
  features        log mel energies of 10 s of sound, 1 thread; the peer is torchaudio.compliance.kaldi.fbank

First both must agree, or nothing is timed: logits within 1e-3 and features within 1e-3, on the same seeded weights and
inputs. Then they take turns: each round is `--repeats` runs of the peer and as many of ours, after one of each that does
not count, so that a busy moment of the machine hits both. The table gives medians over all rounds, and their ratio; the
ratio is what may be quoted, milliseconds belong to one machine on one day.

Ours is `bench forward|train|features --config base|tiny --batch N --threads N --model DIR --repeats N`, which prints a line
{"ms": ...} per run; with `--input FILE --output FILE` it reads the tensor input_values [batch, 1024, 128] and writes logits
[batch, 10], and for features reads samples [n] and writes fbank [frames, 128]. `features` is called without --config, --batch
and --model.
"""

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torchaudio.compliance.kaldi as kaldi
from safetensors.torch import load_file, save_file
from transformers import ASTFeatureExtractor, ASTForAudioClassification
from transformers.utils import logging

import golden_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGITS_WITHIN = FEATURES_WITHIN = 1e-3
# name: (ours' command, configuration, batch, threads)
WORK = {
    "forward-base": ("forward", "base", 1, 2),
    "train-base": ("train", "base", 1, 2),
    "train-tiny": ("train", "tiny", 8, 2),
    "features": ("features", None, 1, 1),
}
SIZES = {
    "base": dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "tiny": dict(hidden_size=192, num_attention_heads=3, intermediate_size=768),
}


def arguments():
    parser = argparse.ArgumentParser(description="Times torch and messymash in turns.")
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "target/release/examples/bench")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each side (default 4)")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs in a turn (default 3; features 10 times that)")
    parser.add_argument("--only", action="append", choices=WORK, metavar="NAME", help=f"of {', '.join(WORK)}; repeatable")
    options = parser.parse_args()
    if options.rounds < 1 or options.repeats < 1:
        parser.error("--rounds and --repeats must be at least 1")
    return options


class Ast:
    """One AST on disk for ours and in memory for torch, with one batch of inputs."""

    def __init__(self, folder, config, batch):
        self.config, self.batch, self.directory = config, batch, folder / config
        model = golden_model.seeded_model(
            dict(
                SIZES[config], num_hidden_layers=12, patch_size=16, frequency_stride=10, time_stride=10,
                num_mel_bins=128, max_length=1024, labels=golden_model.GENRES, seed=4,
            )
        )
        model.save_pretrained(self.directory)
        ASTFeatureExtractor().save_pretrained(self.directory)
        self.model = model
        random = torch.Generator().manual_seed(5)
        self.input_values = torch.randn(batch, 1024, 128, generator=random)
        self.labels = torch.arange(batch) % len(golden_model.GENRES)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)

    def options(self):
        return ["--config", self.config, "--batch", str(self.batch), "--model", str(self.directory)]

    def check(self, bench, threads, folder):
        """Largest difference of a logit."""
        given, made = folder / "input.safetensors", folder / "output.safetensors"
        save_file({"input_values": self.input_values}, given)
        made.unlink(missing_ok=True)
        run_ours(bench, "forward", [*self.options(), "--input", str(given), "--output", str(made)], threads, 1)
        with torch.inference_mode():
            expected = self.model.eval()(self.input_values).logits
        logits = load_file(made)["logits"]
        if logits.shape != expected.shape:
            sys.exit(f"{self.config}: logits of shape {list(logits.shape)}, not {list(expected.shape)}")
        return (logits - expected).abs().max().item()

    def forward(self):
        with torch.inference_mode():
            self.model.eval()(self.input_values)

    def train(self):
        self.model.train()
        self.optimizer.zero_grad()
        logits = self.model(self.input_values).logits
        torch.nn.functional.cross_entropy(logits, self.labels, label_smoothing=0.1).backward()
        self.optimizer.step()


class Sound:
    """Ten seconds of noise for the features."""

    def __init__(self):
        self.samples = 0.1 * torch.randn(160_000, generator=torch.Generator().manual_seed(6))

    def options(self):
        return []

    def check(self, bench, threads, folder):
        """Largest difference of a log mel energy."""
        given, made = folder / "input.safetensors", folder / "output.safetensors"
        save_file({"samples": self.samples}, given)
        made.unlink(missing_ok=True)
        run_ours(bench, "features", ["--input", str(given), "--output", str(made)], threads, 1)
        expected, fbank = self.features(), load_file(made)["fbank"]
        if fbank.shape != expected.shape:
            sys.exit(f"features: fbank of shape {list(fbank.shape)}, not {list(expected.shape)}")
        return (fbank - expected).abs().max().item()

    def features(self):
        return kaldi.fbank(
            self.samples[None], htk_compat=True, sample_frequency=16_000, use_energy=False, window_type="hanning",
            num_mel_bins=128, dither=0.0, frame_shift=10,
        )


def run_ours(bench, command, options, threads, repeats):
    """Milliseconds of each run."""
    call = [bench, command, *options, "--threads", str(threads), "--repeats", str(repeats)]
    run = subprocess.run(call, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, call))} ended with {run.returncode}: {run.stderr.strip()}")
    times = [json.loads(line)["ms"] for line in run.stdout.splitlines() if line.strip()]
    if len(times) != repeats:
        sys.exit(f"{' '.join(map(str, call))} gave {len(times)} times, not {repeats}")
    return times


def run_peer(work, repeats):
    """Milliseconds of each run."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return times


def measure(options, name, folder):
    """One line of the table."""
    command, config, batch, threads = WORK[name]
    torch.set_num_threads(threads)
    subject = Ast(folder, config, batch) if config else Sound()
    difference = subject.check(options.bench, threads, folder)
    if not difference <= (LOGITS_WITHIN if config else FEATURES_WITHIN):
        sys.exit(f"{name}: the two sides differ by {difference:.1e}; speed is beside the point")
    repeats = options.repeats if config else 10 * options.repeats
    peer, mine = [], []
    for _ in range(options.rounds):
        # The first run of a turn warms up caches, thread pools and memory, and does not count.
        peer += run_peer(getattr(subject, command), repeats + 1)[1:]
        mine += run_ours(options.bench, command, subject.options(), threads, repeats + 1)[1:]
    theirs, ours = statistics.median(peer), statistics.median(mine)
    return (f"| {name} | {batch} | {threads} | {theirs:.1f} ({min(peer):.1f} to {max(peer):.1f}) | "
            f"{ours:.1f} ({min(mine):.1f} to {max(mine):.1f}) | **{ours / theirs:.2f}** | {difference:.0e} | {len(mine)} |")


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def main():
    options = arguments()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not options.bench.is_file():
        sys.exit(f"{options.bench} does not exist; run `cargo build --release --example bench`")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchaudio", "transformers"))
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"messymash (commit {commit.stdout.strip() or 'unknown'}) beside {versions}, fp32; {processor()}; {today}\n")
    print("| work | batch | threads | torch, ms: median (range) | messymash, ms: median (range) | ratio | largest difference "
          "of the results | runs of each |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only or WORK:
            print(measure(options, name, pathlib.Path(folder)), flush=True)


if __name__ == "__main__":
    main()
