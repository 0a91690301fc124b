"""The mean of the weights of several models of one shape, such as trainings that began from the same body ("model soup").

    average.py MODEL [MODEL ...] --out MODEL
"""
import argparse
import pathlib
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file


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
    args.out.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(args.models[0] / name, args.out)
    mean = {name: np.mean([each[name] for each in weights], 0, np.float64).astype(np.float32) for name in weights[0]}
    save_file(mean, args.out / "model.safetensors", {"format": "pt"})


main()
