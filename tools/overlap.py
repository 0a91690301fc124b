"""A model with its patches closer together, so that it looks at each moment and pitch more often, or further apart; no training is needed.

    overlap.py MODEL [--time-stride 16] [--frequency-stride 16] --out MODEL

The weights stay as they are; the position embeddings, one for each place of a patch, are interpolated between the places that the model
knows (linearly; what lies beyond the last keeps that one's). Computing time grows with the number of patches, which is printed.

With the strides changed in config.json alone, messymash would interpolate on loading, but as for another length of the input, which puts
the places up to a quarter of a patch aside; and transformers would refuse the file.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

from splits import split_of

POSITIONS = "audio_spectrogram_transformer.embeddings.position_embeddings"
# The axes of the grid of patches, which go by rows of one frequency: how long each is, and what its unit is called.
AXES = {"frequency_stride": ("num_mel_bins", "mel bins"), "time_stride": ("max_length", "frames of 10 ms")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    for name, (_, unit) in AXES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"in {unit}; without it, the model's")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    if args.out.exists() or not (args.model / "config.json").exists():
        raise SystemExit(f"{args.out} is there already" if args.out.exists() else f"{args.model} has no config.json: name a model's folder")
    if args.time_stride is None and args.frequency_stride is None:
        raise SystemExit("give --time-stride, --frequency-stride or both")
    config = json.loads((args.model / "config.json").read_text())
    places, wanted = [], []
    for name, (length, unit) in AXES.items():
        reach, known = config[length] - config["patch_size"], config[name]
        stride = known if getattr(args, name) is None else getattr(args, name)
        if not 0 < stride <= reach:
            raise SystemExit(f"--{name.replace('_', '-')} {stride}: give 1 to {reach} {unit}")
        places.append(np.arange(reach // known + 1) * known)
        wanted.append(np.arange(reach // stride + 1) * stride)
        config[name] = stride
    weights = load_file(args.model / "model.safetensors")
    known = weights[POSITIONS]
    # Two tokens, for the class and for distillation, come before the patches.
    grid = known[0, 2:].reshape(len(places[0]), len(places[1]), -1)
    for axis in (0, 1):
        grid = np.apply_along_axis(lambda values: np.interp(wanted[axis], places[axis], values), axis, grid)
    weights[POSITIONS] = np.concatenate([known[0, :2], grid.reshape(-1, grid.shape[2])])[None].astype(known.dtype)
    shutil.copytree(args.model, args.out)
    split = split_of(args.model)
    if split:
        (args.out / "split.json").write_text(json.dumps(split, indent=2) + "\n")
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(weights, args.out / "model.safetensors")
    print(f"{known.shape[1] - 2} patches, now {grid.shape[0] * grid.shape[1]}")


main()
