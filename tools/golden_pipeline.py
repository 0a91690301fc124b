"""Writes crates/messymash/tests/golden/pipeline.json: what transformers.pipeline("audio-classification") answers.

    tools/reference.sh golden_pipeline.py

For the two small golden models and the bundled one, for the stored sounds of golden/features, and for each
`function_to_apply`: all labels and scores, in the pipeline's order. tests/pipeline.rs and the wheel's tests compare with it.
"""

import json
import pathlib

import numpy as np
from transformers.utils import logging

import reference

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "crates/messymash/tests/golden"
MODELS = {"small": GOLDEN / "model/small/hf", "strided": GOLDEN / "model/strided/hf", "default": reference.ROOT / "models/default"}
SOUNDS = ["noisy_tone", "noise", "music", "silence", "short_0_4_s", "three_seconds", "twelve_seconds"]
FUNCTIONS = [None, "softmax", "sigmoid", "none"]


def samples(sound):
    pcm = (GOLDEN / "features" / f"{sound}.wav").read_bytes()[44:]
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    answers = []
    for model, directory in MODELS.items():
        classify = reference.load(directory)
        for sound in SOUNDS:
            for function in FUNCTIONS:
                given = {"raw": samples(sound), "sampling_rate": reference.RATE}
                # Left out is another thing than None for some versions of the pipeline.
                asked = {} if function is None else {"function_to_apply": function}
                answer = classify(given, **asked)
                answers.append({
                    "model": model, "sound": sound, "function_to_apply": function,
                    "answer": [[entry["label"], entry["score"]] for entry in answer],
                })  # fmt: skip
    text = ",\n".join(json.dumps(answer) for answer in answers)
    (GOLDEN / "pipeline.json").write_text(f"[\n{text}\n]\n")
    print(f"{len(answers)} answers")


if __name__ == "__main__":
    main()
