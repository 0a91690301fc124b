"""What genre a teacher takes unlabelled sound for, as a table for `[teacher]` with `kind = "probabilities"`.

    genres.py --songs POOL --split split.json --pool POOL [POOL ...] [--columns] [--sources NAME ...] [--sorted FOLDER [--folders 2]] [--labelled 0.5]
              --out genres.safetensors

Logistic regression on what targets.py heard in the labelled songs of the training side (standardised, C = 0.01), then its probabilities for
the songs of the other pools (of these folders of them only, with --sources). Prints how it does on the labelled songs of the other side, which
have no part in it. With --sorted the songs of the table are those of FOLDER, which gets a link to each, one folder (or, with --folders, that
many) for each genre they are taken for: a training draws from all folders equally often, so that it hears no genre more often than another,
and the more folders, the more of this sound beside labelled songs. With --columns the other pools are what columns.py heard in them, by the
first of the teacher's nets alone.

With --labelled the table also has a row for each training song: this share of it the genre it is labelled with, the rest what regressions on
the songs of other recordings take it for (ten folds, by recording, three times).
"""
import argparse
import json
import os
import pathlib
import re

import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def heard(pool):
    with np.load(pool / "heard.npz") as stored:
        return stored["songs"], stored["values"]


def heard_in_columns(pool):
    """The mean of each sound's units."""
    with np.load(pool / "columns.npz") as stored:
        counts = stored["units"]
        sums = np.add.reduceat(stored["whole"], np.concatenate([[0], counts.cumsum()[:-1]]))
        return stored["songs"], sums / counts[:, None]


def regression():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5000))


def labelled(names, genres, values, share):
    """Probabilities for labelled songs, in the order of the sorted genres."""
    # As messymash tells recordings: excerpts of one GTZAN song are one.
    recordings = [re.sub(r"^(.*/[a-zA-Z]+\.\d{5})\..*$", r"\1", name) for name in names]
    classes, others = np.unique(genres), np.zeros((len(names), len(set(genres))))
    for seed in range(3):
        for fit, rest in StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(values, genres, recordings):
            others[rest] += regression().fit(values[fit], genres[fit]).predict_proba(values[rest]) / 3
    print(f"training songs told by songs of other recordings: {(classes[others.argmax(1)] == genres).mean():.3f}")
    return share * (genres[:, None] == classes) + (1 - share) * others


def sort(songs, taken_for, pools, out, folders):
    """Links songs, each of its pool, into folders for each genre; their new ids."""
    ids = []
    for number, (song, genre, pool) in enumerate(zip(songs, taken_for, pools)):
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
    parser.add_argument("--pool", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--columns", action="store_true")
    parser.add_argument("--labelled", type=float, metavar="SHARE")
    parser.add_argument("--sources", nargs="*")
    parser.add_argument("--sorted", type=pathlib.Path)
    parser.add_argument("--folders", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    if args.labelled is not None and not 0 <= args.labelled <= 1:
        parser.error(f"--labelled {args.labelled}: give a share from 0 to 1")
    split = json.loads(args.split.read_text())
    names, values = heard(args.songs)
    genres = np.array([name.split("/")[0] for name in names])
    train, judge = np.isin(names, split["train"]), np.isin(names, split["validation"])
    used = slice(200) if args.columns else slice(None)  # the first net's columns come first
    model = regression().fit(values[train][:, used], genres[train])
    right = (model.predict(values[judge][:, used]) == genres[judge]).mean()
    print(f"{train.sum()} training songs; accuracy on the {judge.sum()} others: {right:.3f}")
    tables = [heard_in_columns(pool) if args.columns else heard(pool) for pool in args.pool]
    songs, of_pool = (np.concatenate(parts) for parts in zip(*tables))
    if len(set(songs.tolist())) < len(songs):
        raise SystemExit("two of these pools have sounds of the same name: give them other numbers (--first)")
    pools = np.repeat(np.array(args.pool, object), [len(songs) for songs, _ in tables])
    wanted = np.array([not args.sources or song.split("/")[0] in args.sources for song in songs])
    targets = model.predict_proba(of_pool[wanted])
    ids = songs[wanted].tolist()
    if args.sorted:
        ids = sort(ids, model.classes_[targets.argmax(1)], pools[wanted], args.sorted, args.folders)
    print(dict(zip(model.classes_.tolist(), np.bincount(targets.argmax(1), minlength=len(model.classes_)).tolist())))
    if args.labelled is not None:
        targets = np.concatenate([targets, labelled(names[train], genres[train], values[train], args.labelled)])
        ids += names[train].tolist()
    targets = (targets / targets.sum(1, keepdims=True)).astype(np.float32)
    metadata = {"songs": json.dumps(ids), "columns": json.dumps(model.classes_.tolist())}
    save_file({"targets": targets}, args.out, metadata)


main()
