"""What sound may be given as."""

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, InvalidAudioError

#: A path, a file's bytes, mono samples, or `{"raw" or "array": samples, "sampling_rate": Hz}` as `datasets` has it.
Sound: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any] | Mapping[str, Any]

#: As the library takes it.
Given: TypeAlias = str | bytes | tuple[NDArray[np.float32], int]


def is_one(inputs: object) -> bool:
    """Whether this is a sound, and not several."""
    single = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Mapping)
    return isinstance(inputs, single) or _is_tensor(inputs)


def given(sound: Sound, sampling_rate: int | None) -> Given:
    """A sound as the library takes it; `sampling_rate` (Hz) is that of samples which do not bring their own."""
    if isinstance(sound, (str, os.PathLike)):
        path = os.fspath(sound)
        if path.startswith(("http://", "https://")):
            raise ConfigError(f"{path} is an address, and nothing is fetched from the network; give its bytes")
        return path
    if isinstance(sound, (bytes, bytearray, memoryview)):
        return bytes(sound)
    if isinstance(sound, Mapping):
        samples = sound.get("raw", sound.get("array"))
        sampling_rate = sound.get("sampling_rate")
        if samples is None or sampling_rate is None:
            raise ConfigError('a sound in a dictionary needs the keys "raw" or "array", and "sampling_rate"')
        return _samples(samples), _rate(sampling_rate)
    if isinstance(sound, np.ndarray) or _is_tensor(sound):
        return _samples(sound), _rate(sampling_rate)
    raise TypeError(f"a sound is a path, bytes, a NumPy array or a dictionary, not {type(sound).__name__}")


def _is_tensor(sound: object) -> bool:
    """Whether this is a tensor of torch, jax or another library that shows itself as an array."""
    return hasattr(sound, "__array__") and hasattr(sound, "dtype") and hasattr(sound, "shape")


def _rate(sampling_rate: int | None) -> int:
    if sampling_rate is None:
        raise ConfigError("samples alone do not tell how fast they are played: give sampling_rate, in Hz")
    if int(sampling_rate) != sampling_rate or not 0 < sampling_rate < 2**32:
        raise ConfigError(f"sampling_rate is {sampling_rate}; it must be a whole number of Hz above 0")
    return int(sampling_rate)


def _samples(samples: Any) -> NDArray[np.float32]:
    array = np.asarray(samples)
    if array.ndim != 1:
        raise InvalidAudioError(f"the samples have the shape {array.shape}; one channel is expected: take the mean of all")
    if not np.issubdtype(array.dtype, np.floating):
        raise InvalidAudioError(
            f"the samples are {array.dtype}; numbers from -1 to 1 are expected: divide 16-bit samples by 32768"
        )
    return np.ascontiguousarray(array, dtype=np.float32)
