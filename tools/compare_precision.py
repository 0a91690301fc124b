"""Whether eight bits give the same answers as single precision, on real sound.

    cargo build --release && python3 tools/compare_precision.py FOLDER [--model DIR] [--hop 5.12] [--binary FILE]

Hears every sound file of FOLDER in windows `--hop` seconds apart, once with `--precision f32` and once with `--precision
int8`, and prints how many windows have the same likeliest genre, and how far their scores lie apart. Needs nothing but
Python. It fails if there are fewer than 500 windows, or fewer than 99 of 100 agree.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def windows(options, precision):
    """(file, start) -> scores by label."""
    command = [options.binary, "classify", options.folder, "--format", "jsonl", "--hop", str(options.hop),
               "--precision", precision, "--top", "10"]
    if options.model:
        command += ["--model", options.model]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    heard = {}
    for answer in answers:
        for window in answer.get("windows", []):
            heard[answer["file"], window["start"]] = {p["label"]: p["score"] for p in window["predictions"]}
    return heard


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--model")
    parser.add_argument("--hop", type=float, default=5.12)
    parser.add_argument("--binary", default=ROOT / "target/release/messymash")
    options = parser.parse_args()
    single, eight = windows(options, "f32"), windows(options, "int8")
    if single.keys() != eight.keys():
        sys.exit("the two precisions heard different windows")
    same = sum(max(s, key=s.get) == max(eight[at], key=eight[at].get) for at, s in single.items())
    apart = [max(abs(s[label] - eight[at][label]) for label in s) for at, s in single.items()]
    files = len({file for file, _ in single})
    print(f"{files} files, {len(single)} windows: the same likeliest genre in {same} "
          f"({100 * same / max(len(single), 1):.2f} %); scores apart by {sum(apart) / max(len(apart), 1):.4f} in the mean, "
          f"{max(apart, default=0):.4f} at most")
    if len(single) < 500 or same < 0.99 * len(single):
        sys.exit("fewer than 500 windows, or fewer than 99 of 100 agree")


if __name__ == "__main__":
    main()
