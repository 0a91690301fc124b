"""Live parity of the Python package: its answers and features beside transformers', its mashups in PyTorch's loader.

    tools/reference_wheel.sh

Sounds are those of reference.py; models the two small golden ones and the bundled one. Every call is made of both with the same
arguments: `Classifier(...)(sound, windows="first", top_k=, function_to_apply=)` and the pipeline's, `extract_features` and
`ASTFeatureExtractor`. Ends with 1 when labels differ, or a score by more than 1e-4 (logits: 1e-3), or features by more
than 2e-4 (pure tones: 2e-2, see golden_features.py).
"""

import pathlib
import sys
import tempfile

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import ASTFeatureExtractor
from transformers.utils import logging

import messymash
import reference

sys.path.append(str(reference.ROOT / "crates/python/tests"))
from made import write_data  # noqa: E402: the small data set of the package's tests


def compare_answers(sounds, wrong):
    for directory in (reference.GOLDEN / "small/hf", reference.GOLDEN / "strided/hf", reference.ROOT / "models/default"):
        ours, theirs = messymash.Classifier.from_pretrained(directory), reference.load(directory)
        largest = 0.0
        for path, samples in sounds:
            given = {"raw": samples.copy(), "sampling_rate": reference.RATE}
            for asked in ({}, {"top_k": 3}, {"top_k": 99, "function_to_apply": "sigmoid"},
                          {"function_to_apply": "none"}, {"top_k": None, "function_to_apply": "softmax"}):  # fmt: skip
                mine, other = ours(given, windows="first", **asked), theirs(given, **asked)
                within = 1e-3 if asked.get("function_to_apply") == "none" else 1e-4
                scores = {entry["label"]: entry["score"] for entry in other}
                same = len(mine) == len(other)
                for a, b in zip(mine, other):
                    # Labels whose scores are as good as equal may change places.
                    difference = abs(a["score"] - b["score"])
                    largest = max(largest, difference / (10 if within > 1e-4 else 1))
                    same &= difference < within and abs(scores.get(a["label"], b["score"]) - b["score"]) < 2 * within
                if not same:
                    wrong.append(f"{directory} {path.stem} {asked}: {mine} and {other}")
        print(f"answers, {directory.parent.name}/{directory.name}: largest difference {largest:.1e}")


def compare_features(sounds, wrong):
    largest = 0.0
    for path, samples in sounds:
        mine = messymash.extract_features(samples, reference.RATE)
        theirs = ASTFeatureExtractor()(samples, sampling_rate=reference.RATE, return_tensors="np")["input_values"][0]
        difference = float(np.abs(mine - theirs).max())
        pure = path.stem in ("tone", "chirp")
        largest = largest if pure else max(largest, difference)
        if difference > (2e-2 if pure else 2e-4):
            wrong.append(f"features of {path.stem} differ by {difference}")
    print(f"features: largest difference {largest:.1e}")


class Stream(IterableDataset):
    def __init__(self, mashups):
        self.mashups = mashups

    def __iter__(self):
        return iter(self.mashups)


def compare_loaders(folder, wrong):
    data = write_data(folder)
    mashups = messymash.remix(data, count=24, options={"seconds": 0.5})
    expected = torch.tensor(np.stack([mashup["array"] for mashup in mashups]))
    labels = torch.tensor([mashup["label"] for mashup in mashups])
    for workers in (0, 1, 3):
        for start in (None,) if workers == 0 else ("fork", "spawn"):
            batches = list(DataLoader(mashups, batch_size=4, num_workers=workers, multiprocessing_context=start))
            if not torch.equal(torch.cat([b["array"] for b in batches]), expected):
                wrong.append(f"DataLoader with {workers} workers by {start}: other mashups")
            if not torch.equal(torch.cat([b["label"] for b in batches]), labels):
                wrong.append(f"DataLoader with {workers} workers by {start}: other labels")
            loader = DataLoader(Stream(mashups), batch_size=None, num_workers=workers, multiprocessing_context=start)
            sums = sorted(float(mashup["array"].abs().sum()) for mashup in loader)
            if not np.allclose(sums, sorted(expected.abs().sum(1).tolist())):
                wrong.append(f"IterableDataset with {workers} workers by {start}: not each mashup once")
    print("loaders: 0, 1 and 3 workers, by fork and spawn")


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "sounds").mkdir()
        sounds = reference.write_sounds(folder / "sounds")
        compare_answers(sounds, wrong)
        compare_features(sounds, wrong)
        compare_loaders(folder / "data", wrong)
    print("\n".join(wrong) or "no mismatch")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
