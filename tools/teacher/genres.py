"""What genre a teacher takes unlabelled sound for, as a table for `[teacher]` with `kind = "probabilities"`.

    genres.py --songs POOL --split split.json --pool POOL [--sources NAME ...] [--sorted FOLDER [--folders 2]] --out genres.safetensors

Logistic regression on what targets.py heard in the labelled songs of the training side (standardised, C = 0.01), then its probabilities for
the songs of the other pool (of these folders of it only, with --sources). Prints how it does on the labelled songs of the other side, which
have no part in it. With --sorted the songs of the table are those of FOLDER, which gets a link to each, one folder (or, with --folders, that
many) for each genre they are taken for: a training draws from all folders equally often, so that it hears no genre more often than another,
and the more folders, the more of this sound beside labelled songs.
"""
import argparse
import json
import os
import pathlib

import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def heard(pool):
    with np.load(pool / "heard.npz") as stored:
        return stored["songs"], stored["values"]


def sort(songs, taken_for, pool, out, folders):
    """Links songs into folders for each genre; their new ids."""
    ids = []
    for number, (song, genre) in enumerate(zip(songs, taken_for)):
        source, name = song.split("/")
        genre += f"-{number % folders + 1}" if folders > 1 else ""
        # The name first, so that what is of one recording is still known by it.
        ids.append(f"taken-for-{genre}/{name}.{source}")
        folder = out / "genres_stems" / ids[-1]
        folder.mkdir(parents=True)
        os.link(pool / "genres_stems" / song / "other.wav", folder / "other.wav")
    return ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=pathlib.Path, required=True)
    parser.add_argument("--split", type=pathlib.Path, required=True)
    parser.add_argument("--pool", type=pathlib.Path, required=True)
    parser.add_argument("--sources", nargs="*")
    parser.add_argument("--sorted", type=pathlib.Path)
    parser.add_argument("--folders", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    split = json.loads(args.split.read_text())
    names, values = heard(args.songs)
    genres = np.array([name.split("/")[0] for name in names])
    train, judge = np.isin(names, split["train"]), np.isin(names, split["validation"])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5000)).fit(values[train], genres[train])
    right = (model.predict(values[judge]) == genres[judge]).mean()
    print(f"{train.sum()} training songs; accuracy on the {judge.sum()} others: {right:.3f}")
    songs, values = heard(args.pool)
    wanted = np.array([not args.sources or song.split("/")[0] in args.sources for song in songs])
    targets = model.predict_proba(values[wanted]).astype(np.float32)
    targets /= targets.sum(1, keepdims=True)
    ids = songs[wanted].tolist()
    if args.sorted:
        ids = sort(ids, model.classes_[targets.argmax(1)], args.pool, args.sorted, args.folders)
    metadata = {"songs": json.dumps(ids), "columns": json.dumps(model.classes_.tolist())}
    save_file({"targets": targets}, args.out, metadata)
    print(dict(zip(model.classes_, np.bincount(targets.argmax(1), minlength=len(model.classes_)).tolist())))


main()
