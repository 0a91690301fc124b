"""What a body that learnt from a teacher knows of genres, before any genre is taught to it.

    probe.py --body RUN/last --pool POOL --songs POOL --split split.json

RUN is a training with `[teacher]` on the table of POOL (targets.py); --songs has the labelled songs, heard by the teacher as well. Prints
how much of what the teacher hears in the labelled songs the body says, and the accuracy on the songs kept from training of the teacher's
regression (that of genres.py) on what the body says, and of regressions on its pooled token, fitted to the training songs. Then the accuracy
of both regressions on all labelled songs, each by one fitted to four fifths of the recordings that it is not of (thrice, divided
otherwise): more songs tell two bodies apart better, but of these a body may have heard some, unlabelled, in its pool.
"""
import argparse
import json
import pathlib

import numpy as np
import soundfile
import torch
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import ASTFeatureExtractor, ASTForAudioClassification

RATE, LENGTH = 16_000, 164_160


def windows(samples):
    """The first and the last window of a sound; a shorter one is repeated."""
    if len(samples) < LENGTH:
        return [np.resize(samples, LENGTH)]
    return [samples[:LENGTH], samples[-LENGTH:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("body", "pool", "songs", "split"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    args = parser.parse_args()
    model = ASTForAudioClassification.from_pretrained(args.body).eval()
    extractor = ASTFeatureExtractor.from_pretrained(args.body)
    table = load_file(args.pool / "teacher.safetensors")
    with np.load(args.songs / "heard.npz") as stored:
        names, heard = stored["songs"], stored["values"]
    split = json.loads(args.split.read_text())
    genres = np.array([name.split("/")[0] for name in names])
    train, judge = np.isin(names, split["train"]), np.isin(names, split["validation"])
    said, tokens = [], []
    for name in names:
        samples = soundfile.read(args.songs / "genres_stems" / name / "other.wav", dtype="float32")[0]
        with torch.inference_mode():
            inputs = extractor(windows(samples), sampling_rate=RATE, return_tensors="pt")
            pooled = model.audio_spectrogram_transformer(**inputs).pooler_output
            said.append(model.classifier(pooled).numpy().mean(0))
            tokens.append(pooled.numpy().mean(0))
    said, tokens = np.array(said) * table["deviation"] + table["mean"], np.array(tokens)
    unexplained = ((said - heard) ** 2).sum() / ((heard - heard[train].mean(0)) ** 2).sum()
    print(f"of what the teacher hears in {len(names)} labelled songs the body says {1 - unexplained:.3f} of the variance")

    def fitted(values, strength, rows=train):
        regression = LogisticRegression(C=strength, max_iter=5000)
        return make_pipeline(StandardScaler(), regression).fit(values[rows], genres[rows])

    def accuracy(model, values):
        return (model.predict(values[judge]) == genres[judge]).mean()

    teacher = fitted(heard, 0.01)
    print(f"accuracy on {judge.sum()} songs kept from training: the teacher's regression {accuracy(teacher, heard):.3f}, on what the body says {accuracy(teacher, said):.3f}")
    for strength in (0.001, 0.003, 0.01, 0.03, 0.1):
        print(f"  regression on the token, C = {strength}: {accuracy(fitted(tokens, strength), tokens):.3f}")
    recordings = [".".join(name.split(".")[:2]) for name in names]

    def crossed(values, strength):
        def right(seed):
            folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(values, genres, recordings)
            return np.concatenate([fitted(values, strength, fit).predict(values[rest]) == genres[rest] for fit, rest in folds])

        return np.mean([right(seed) for seed in range(3)])

    print(f"cross-validated on all {len(names)}: on what the teacher hears {crossed(heard, 0.01):.3f}")
    for strength in (0.001, 0.003, 0.01, 0.03):
        print(f"  on the token, C = {strength}: {crossed(tokens, strength):.3f}")


main()
