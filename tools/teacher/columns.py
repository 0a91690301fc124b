"""What musicnn hears in every third of a second of a pool's sounds, as a table for distil_columns.py.

    columns.py --musicnn FOLDER --pool POOL [--net MSD_musicnn] [--limit N] [--out POOL/columns.npz]

A sound counts as units of 2.56 s, 160 frames of musicnn and 8 columns of 32 frames of the student's spectrogram (0.32 s); what is left at its end is
left out, and a sound shorter than one unit is repeated. The table holds `songs` (source/name), `units` (how many each has), `whole` [units, 200],
the last layer before the tags of each unit, and `columns` [units, 8, 200] (f16), what the layer before its activation would be if the column, with
what lies beside it in the reach of the filters, were all there is: maximum and mean are taken over the column alone.
"""
import argparse
import pathlib

import numpy as np
import openvino
import soundfile
import torch

from musicnn import Musicnn, spectrogram

UNIT, FRAMES, COLUMNS = 40_960, 160, 8
TOGETHER = 16


class Columns(Musicnn):
    """[n, 160, 96] -> [n, 200] and [n, 8, 200]."""

    def forward(self, x):
        middle = self.middle(x)
        parts = middle.reshape(*middle.shape[:2], COLUMNS, FRAMES // COLUMNS)
        most, mean = parts.amax(3), parts.mean(3)
        columns = [self.dense(most[..., i], mean[..., i]) for i in range(COLUMNS)]
        return self.last(self.dense(middle.amax(2), middle.mean(2))), torch.stack(columns, 1)


def units_of(path):
    """The units of a sound, [n, 40960]."""
    samples = soundfile.read(path, dtype="float32")[0]
    samples = np.resize(samples, max(len(samples), UNIT))
    return samples[: len(samples) // UNIT * UNIT].reshape(-1, UNIT)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--musicnn", type=pathlib.Path, required=True)
    parser.add_argument("--net", default="MSD_musicnn")
    parser.add_argument("--pool", type=pathlib.Path, required=True)
    parser.add_argument("--limit", type=int, help="hear so many of the sounds, at random")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    net, trial = Columns(args.musicnn / args.net), torch.rand(2, FRAMES, 96)
    with torch.inference_mode():
        compiled = openvino.compile_model(openvino.convert_model(net, example_input=trial), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for got, wanted in zip(compiled(trial.numpy()).values(), net(trial)):
            assert np.abs(got - wanted.numpy()).max() < 1e-3, "OpenVINO and PyTorch differ"
    root = args.pool / "genres_stems"
    paths = sorted(root.glob("*/*/other.wav"))
    if args.limit:
        paths = [paths[i] for i in sorted(np.random.default_rng(1).permutation(len(paths))[: args.limit])]
    counts, whole, columns = [], [], []
    for first in range(0, len(paths), TOGETHER):
        sounds = [units_of(path) for path in paths[first : first + TOGETHER]]
        counts += [len(units) for units in sounds]
        # The frame after a unit's 160 is the first of the next.
        heard = compiled(np.stack([spectrogram(unit)[:FRAMES] for units in sounds for unit in units]))
        whole.append(heard[0])
        columns.append(heard[1].astype(np.float16))
        if first // TOGETHER % 100 == 99:
            print(f"{first + TOGETHER}/{len(paths)}", flush=True)
    songs = [f"{path.parent.parent.name}/{path.parent.name}" for path in paths]
    np.savez(args.out or args.pool / "columns.npz", songs=songs, units=counts, whole=np.concatenate(whole), columns=np.concatenate(columns))


if __name__ == "__main__":
    main()
