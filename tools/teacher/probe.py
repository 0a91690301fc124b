"""What a body that learnt from a teacher knows of genres, before any genre is taught to it.

    probe.py --body RUN/last [--pool POOL] --songs POOL --split split.json

RUN is a training with `[teacher]` on the table of POOL (targets.py), or what distil_columns.py wrote (then --pool is not needed, and the teacher is
MSD_musicnn alone); --songs has the labelled songs, heard by the teacher as well (targets.py). Prints how much of what the teacher hears in the
labelled songs the body says, of the training side (whose mashups are in the pool) and of the other, and accuracy and loss (nats) on the other
side, of the teacher's regression (that of genres.py) on what the body says, and of regressions on its pooled token, fitted to the training songs.
"""
import argparse
import functools
import json
import pathlib

import numpy as np
import soundfile
import torch
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import ASTFeatureExtractor, ASTForAudioClassification

RATE, LENGTH = 16_000, 164_160


def windows(samples):
    """The first and the last window of a sound; a shorter one is repeated."""
    if len(samples) < LENGTH:
        return [np.resize(samples, LENGTH)]
    return [samples[:LENGTH], samples[-LENGTH:]]


def says(args, model):
    """What turns the pooled token into what the teacher hears, standardised, and `mean` and `deviation` of that."""
    heads = args.body / "heads.pt"
    if heads.exists():
        table = torch.load(heads)
        return functools.partial(torch.nn.functional.linear, **table["whole"]), {name: table[name].numpy() for name in ("mean", "deviation")}
    if not args.pool:
        raise SystemExit(f"{args.body} has no heads.pt: tell --pool, whose teacher.safetensors it learnt")
    return model.classifier, load_file(args.pool / "teacher.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=pathlib.Path)
    for name in ("body", "songs", "split"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    args = parser.parse_args()
    model = ASTForAudioClassification.from_pretrained(args.body).float().eval()
    extractor = ASTFeatureExtractor.from_pretrained(args.body)
    head, table = says(args, model)
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
            said.append(head(pooled).numpy().mean(0))
            tokens.append(pooled.numpy().mean(0))
    said, tokens = np.array(said) * table["deviation"] + table["mean"], np.array(tokens)
    heard = heard[:, : said.shape[1]]  # MSD_musicnn comes first

    def explained(rows):
        return 1 - ((said - heard)[rows] ** 2).sum() / ((heard - heard[train].mean(0))[rows] ** 2).sum()

    print("of the variance of what the teacher hears the body says")
    print(f"  {explained(train):.3f} in the {train.sum()} training songs, {explained(judge):.3f} in the {judge.sum()} others, {explained(train | judge):.3f} in all")

    def fitted(values, strength):
        regression = LogisticRegression(C=strength, max_iter=5000)
        return make_pipeline(StandardScaler(), regression).fit(values[train], genres[train])

    def judged(model, values):
        scores = model.predict_proba(values[judge])
        truth = np.searchsorted(model.classes_, genres[judge])
        loss = -np.log(scores[np.arange(len(truth)), truth]).mean()
        return f"{(scores.argmax(1) == truth).mean():.3f}, loss {loss:.3f}"

    teacher = fitted(heard, 0.01)
    print(f"accuracy on the others: the teacher's regression {judged(teacher, heard)}; on what the body says {judged(teacher, said)}")
    for strength in (0.001, 0.003, 0.01, 0.03, 0.1):
        print(f"  regression on the token, C = {strength}: {judged(fitted(tokens, strength), tokens)}")


main()
