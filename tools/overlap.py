"""A model with its patches closer together in time, so that it looks at each moment more often, or further apart; no training is needed.

    overlap.py MODEL --time-stride 16 --out MODEL

The weights stay as they are; the position embeddings, one for each place of a patch, are interpolated between the places in time that the
model knows (linearly; what lies beyond the last keeps that one's). Computing time grows with the number of patches, which is printed.

With `time_stride` changed in config.json alone, messymash would interpolate on loading, but as for another length of the input, which puts
the places up to a quarter of a patch aside; and transformers would refuse the file.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

POSITIONS = "audio_spectrogram_transformer.embeddings.position_embeddings"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--time-stride", type=int, required=True, help="frames of 10 ms")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    if args.out.exists() or not (args.model / "config.json").exists():
        raise SystemExit(f"{args.out} is there already" if args.out.exists() else f"{args.model} has no config.json: name a model's folder")
    config = json.loads((args.model / "config.json").read_text())
    reach = config["max_length"] - config["patch_size"]
    if not 0 < args.time_stride <= reach:
        raise SystemExit(f"--time-stride {args.time_stride}: give 1 to {reach} frames")
    weights = load_file(args.model / "model.safetensors")
    known = weights[POSITIONS]
    rows = (config["num_mel_bins"] - config["patch_size"]) // config["frequency_stride"] + 1
    places = np.arange(reach // config["time_stride"] + 1) * config["time_stride"]
    wanted = np.arange(reach // args.time_stride + 1) * args.time_stride
    # Two tokens, for the class and for distillation, come before the patches, which go by rows of one frequency.
    grid = known[0, 2:].reshape(rows, len(places), -1)
    between = np.apply_along_axis(lambda values: np.interp(wanted, places, values), 1, grid)
    weights[POSITIONS] = np.concatenate([known[0, :2], between.reshape(-1, grid.shape[2])])[None].astype(known.dtype)
    shutil.copytree(args.model, args.out)
    config["time_stride"] = args.time_stride
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(weights, args.out / "model.safetensors")
    print(f"{grid.shape[0] * len(places)} patches, now {rows * len(wanted)}")


main()
