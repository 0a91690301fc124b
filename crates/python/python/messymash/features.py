"""The model's input, as `transformers.ASTFeatureExtractor` makes it."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from . import _native
from .sounds import Sound, given, is_one


def extract_features(
    inputs: Sound | Iterable[Sound],
    sampling_rate: int | None = None,
    *,
    num_mel_bins: int = 128,
    max_length: int = 1024,
    mean: float = -4.2677393,
    std: float = 4.5689974,
    do_normalize: bool = True,
    num_threads: int | None = None,
) -> NDArray[np.float32]:
    """`ASTFeatureExtractor(...)(inputs)["input_values"]`: log-mel energies, padded or cut to `max_length` frames, normalised.

    `inputs` are those of `Classifier`; sound at another rate than 16 kHz is brought to it (which `ASTFeatureExtractor` refuses).
    The shape is `[max_length, num_mel_bins]` for one sound, `[sounds, max_length, num_mel_bins]` for several.
    """
    config = {
        "num_mel_bins": num_mel_bins,
        "max_length": max_length,
        "mean": mean,
        "std": std,
        "do_normalize": do_normalize,
    }
    return extract(_native.Extractor(json.dumps(config), num_threads), inputs, sampling_rate)


def extract(
    extractor: _native.Extractor, inputs: Sound | Iterable[Sound], sampling_rate: int | None
) -> NDArray[np.float32]:
    """Features of one sound or several."""
    if is_one(inputs):
        one: NDArray[np.float32] = extractor.extract([given(inputs, sampling_rate)])[0]  # type: ignore[arg-type]
        return one
    return extractor.extract([given(sound, sampling_rate) for sound in inputs])  # type: ignore[arg-type,union-attr]
