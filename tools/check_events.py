"""Holds the event files of `messymash train` against TensorBoard's own reader.

Makes a small data set, trains on it, kills the training where it stands, resumes it, and compares every curve that TensorBoard
then reads with metrics.jsonl: every step once, and with the number that is logged there. Run by tools/check_events.sh.

    python tools/check_events.py target/release/messymash
"""

import json
import math
import random
import struct
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RATE = 16_000
# An epoch is 60 steps and is when last/ is written, so what is logged between is lost with a killed process.
EPOCH, EPOCHS = 60, 6
RECIPE = f"""
seed = 3
epochs = {EPOCHS}
mashups_per_epoch = {8 * EPOCH}
batch_size = 8
micro_batch = 8
warmup_steps = 4
[model]
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 32
patch_size = 4
frequency_stride = 4
time_stride = 4
max_length = 24
num_mel_bins = 16
[validation]
fraction = 0.25
noise_folds = [5]
mashups = 32
[remix]
seconds = 0.26
"""


def write_sound(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *(int(32767 * x) for x in samples)))


def write_data(root):
    """Four songs of tones and four of hiss, and a noise for each fold."""
    noise = random.Random(1)

    def tone(hertz, seconds, amplitude):
        return [amplitude * math.sin(math.tau * hertz * i / RATE) for i in range(int(seconds * RATE))]

    for song in range(4):
        for n, stem in enumerate(["drums", "vocals", "bass", "other"]):
            for genre, samples in [
                ("blues", tone(200 + 40 * song + 130 * n, 1, 0.3)),
                ("rock", [noise.uniform(-0.3, 0.3) for _ in range(RATE)]),
            ]:
                write_sound(root / "genres_stems" / genre / f"song{song}" / f"{stem}.wav", samples)
    table = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        name = f"{fold}-{1000 + fold}-A-0.wav"
        table.append(f"{name},{fold},0,dog,True,{1000 + fold},A")
        write_sound(root / "ESC-50-master/audio" / name, tone(3000 + 500 * fold, 0.25, 0.1))
    (root / "ESC-50-master/meta").mkdir()
    (root / "ESC-50-master/meta/esc50.csv").write_text("\n".join(table) + "\n")


def kill_within_an_epoch(command, log):
    """Kills the training, without a warning, when it has logged some steps beyond the first save."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while (log.read_bytes().count(b"\n") if log.exists() else 0) < EPOCH + 20:
        if process.poll() is not None:
            sys.exit("the training ended before it could be killed")
        time.sleep(0.001)
    process.kill()
    process.wait()


def logged(run):
    """{tag: [(step, value)]} of metrics.jsonl."""
    curves = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(line)
        tags = {f"train/{name}": line.get(name) for name in ["loss", "learning_rate", "gradient_norm"]}
        tags |= {f"validation/{name}": line.get(f"validation_{name}") for name in ["loss", "macro_f1"]}
        tags |= {f"validation_f1/{genre}": f1 for genre, f1 in line.get("validation_f1", {}).items()}
        for tag, value in tags.items():
            if value is not None:
                curves.setdefault(tag, []).append((line["step"], np.float32(value)))
    return curves


def check(run):
    """What TensorBoard reads is what is logged. Gives back how many curves and points that are."""
    board = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    board.Reload()
    tags = board.Tags()
    expected = logged(run)
    speed = "train/mashups_per_second"
    assert set(tags["scalars"]) == set(expected) | {speed}, tags["scalars"]
    for tag, points in expected.items():
        read = [(event.step, np.float32(event.value)) for event in board.Scalars(tag)]
        assert read == points, f"{tag}: {read} instead of {points}"
    assert [event.step for event in board.Scalars(speed)] == [step for step, _ in expected["train/loss"]]
    recipe, environment = (board.Tensors(tag)[0].tensor_proto.string_val[0] for tag in ["recipe", "environment"])
    assert b"hidden_size = 16" in recipe and b"threads" in environment
    pictures = board.Images("validation/confusion")
    assert [picture.step for picture in pictures] == [step for step, _ in expected["validation/loss"]]
    assert all(picture.encoded_image_string.startswith(b"\x89PNG") for picture in pictures)
    assert (pictures[0].width, pictures[0].height) == (48, 48)
    return len(expected), sum(len(points) for points in expected.values())


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = folder / "run"
        write_data(folder / "data")
        (folder / "recipe.toml").write_text(RECIPE)
        start = [program, "train", "--config", folder / "recipe.toml", "--data", folder / "data", "--out", run]
        kill_within_an_epoch(start, run / "metrics.jsonl")
        before = len(logged(run)["train/loss"])
        subprocess.run([program, "train", "--resume", run], check=True, stderr=subprocess.DEVNULL)
        curves, points = check(run)
        files = sorted(run.glob("*tfevents*"))
        written = sum(
            value.tag == "train/loss"
            for file in files
            for event in event_file_loader.LegacyEventFileLoader(str(file)).Load()
            for value in event.summary.value
        )
        steps = EPOCH * EPOCHS
        assert len(files) == 2 and len(logged(run)["train/loss"]) == steps
        assert written > steps, "the crash took no step that had to be taken again"
        print(f"{curves} curves, {points} points as logged; killed after {before} of {steps} steps, {written - steps} of them overlaid")


if __name__ == "__main__":
    main()
