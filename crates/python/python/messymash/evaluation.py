"""How good a model is."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal, cast

from . import _native
from .classifier import Classifier
from .errors import ConfigError
from .mashups import _data, _Paths


def evaluate(
    classifier: Classifier,
    data: _Paths = (),
    *,
    songs: str | os.PathLike[str] | None = None,
    protocol: Literal["unseen-songs", "new-mashups"] | None = None,
    split: str | os.PathLike[str] | None = None,
    mashups: int | None = None,
    seed: int = 1000,
    noise: _Paths = (),
    allow_missing_stems: bool = False,
    options: dict[str, Any] | None = None,
    windows: Literal["all", "first"] = "all",
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Judges a model by mashups of `data`, or by whole labelled `songs` (`songs/<genre>/<file>`).

    With a `protocol`, by 2,000 mashups that are the same for the same data, of songs and noise that the training never heard
    ("unseen-songs") or of training songs in unheard noise ("new-mashups"); without one, by 1,000 of everything in `data`.
    `mashups` and `seed` ask for others.

    Of whole `songs`, a protocol takes those that the split keeps from training, or those that trained the model; what the split
    does not know is left out, with a warning. Without a protocol: all of them.

    What the model was trained on is read from the `split.json` beside it, or `split`, which without a protocol means the songs
    that it keeps from training. What would leak is refused with a `ConfigError`. Where all songs judge, the title in the answer
    says how many of them trained the model, if that is known. `progress` is told how many of how many are done.

    Returns `{"measures": ..., "evaluation": ...}`: measures are macro F1 and accuracy, each with its 95 % interval
    (`{"value", "low", "high"}`; `"bootstrap"` has both with the other interval), figures by genre, by signal-to-noise ratio
    and by number of noises, calibration, confusion; the evaluation is every answer.
    """
    if songs is not None and data != ():
        raise ConfigError("a model is judged by mashups of data or by whole songs: give one of the two")
    judging = {
        "data": _data(data, noise, allow_missing_stems),
        "songs": None if songs is None else os.fspath(songs),
        "protocol": protocol,
        "split": None if split is None else os.fspath(split),
        "mashups": mashups,
        "seed": seed,
        "options": json.dumps(options or {}),
        "hearing": {"windows": windows, "hop": 10.24, "tail": "shift", "function_to_apply": None, "max_seconds": None},
    }
    answer = cast(dict[str, Any], json.loads(_native.evaluate(classifier._native, judging, progress)))
    left_out = answer.pop("left_out")
    if left_out:
        message = f"{len(left_out)} songs in {songs} are not in the split and are left out, such as {left_out[0]}"
        warnings.warn(message, stacklevel=2)
    return answer
