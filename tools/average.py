"""The mean of the weights of several models of one shape, such as trainings that began from the same body ("model soup").

    average.py MODEL [MODEL ...] --out MODEL

What trained any of them trained their mean: its split.json is that of the first, and lists what trained the others.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file


def split_of(model):
    """The split that a model was trained with, where messymash looks for it: beside the model, or in its run."""
    run = model.resolve().parent
    places = [model / "split.json"] + [run / "split.json"] * (run / "config.toml").exists()
    return next((json.loads(place.read_text()) for place in places if place.exists()), None)


def joined(splits):
    """The first split, with all that trained the models of the others."""
    first = splits[0]
    heard = {"songs": set(), "folds": set()}
    for split in splits:
        before = split.get("before", {"songs": [], "folds": []})
        heard["songs"].update(split["train"], before["songs"])
        heard["folds"].update(split["train_folds"], before["folds"])
    leaked = sorted(heard["songs"].intersection(first["validation"])) + sorted(heard["folds"].intersection(first["validation_folds"]))
    if leaked:
        raise SystemExit(f"{len(leaked)} songs or noise folds that judge the first model trained another, such as {leaked[0]}")
    before = {"songs": sorted(heard["songs"] - set(first["train"])), "folds": sorted(heard["folds"] - set(first["train_folds"]))}
    return {**first, "before": before}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for model in args.models:
        if not (model / "model.safetensors").exists():
            parser.error(f"{model} has no model.safetensors: name a model's folder")
    if args.out.exists():
        parser.error(f"{args.out} is there already")
    weights = [load_file(model / "model.safetensors") for model in args.models]
    shapes = [{name: value.shape for name, value in each.items()} for each in weights]
    for model, shape in zip(args.models, shapes):
        if shape != shapes[0]:
            parser.error(f"{model} has not the tensors of {args.models[0]}")
    splits = [split for split in map(split_of, args.models) if split]
    split = joined(splits) if splits else None
    args.out.mkdir(parents=True)
    if split:
        (args.out / "split.json").write_text(json.dumps(split, indent=2) + "\n")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(args.models[0] / name, args.out)
    mean = {name: np.mean([each[name] for each in weights], 0, np.float64).astype(np.float32) for name in weights[0]}
    save_file(mean, args.out / "model.safetensors", {"format": "pt"})


main()
