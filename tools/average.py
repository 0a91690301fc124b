"""The mean of the weights of several models of one shape, such as trainings that began from the same body ("model soup").

    average.py MODEL [MODEL ...] --out MODEL

What trained any of them trained their mean: its split.json is that of the first, and lists what trained the others. Where that is not
known of one of them, it has none.
"""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

from splits import joined, split_of


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
    splits = [split_of(model) for model in args.models]
    unknown = [str(model) for model, split in zip(args.models, splits) if not split]
    split = None if unknown else joined(splits)
    if unknown and any(splits):
        print(f"nothing tells what trained {', '.join(unknown)}, so nothing will tell what trained the mean", file=sys.stderr)
    args.out.mkdir(parents=True)
    if split:
        (args.out / "split.json").write_text(json.dumps(split, indent=2) + "\n")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(args.models[0] / name, args.out)
    mean = {name: np.mean([each[name] for each in weights], 0, np.float64).astype(np.float32) for name in weights[0]}
    save_file(mean, args.out / "model.safetensors", {"format": "pt"})


main()
