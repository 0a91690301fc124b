"""Mashups to train on: stems of different songs of one genre with noise on top, others for every (seed, epoch, index)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from . import _native
from .errors import ConfigError

_Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Mashup(TypedDict):
    """A mashup: mono samples, their rate (Hz), the class index by the order of `Mashups.genres`, and the genre's name."""

    array: NDArray[np.float32]
    sampling_rate: int
    label: int
    genre: str


class Heard(TypedDict):
    """What trained a model that another one began from."""

    songs: list[str]
    folds: list[int]


class _OfLaterTraining(TypedDict, total=False):
    before: Heard


class Split(_OfLaterTraining):
    """Which songs and noise folds belong to which side: the content of a `split.json`. `before` is there where the training
    began from a model that had heard more than what trains it now."""

    seed: int
    train: list[str]
    validation: list[str]
    train_folds: list[int]
    validation_folds: list[int]


def _data(data: _Paths, noise: _Paths, allow_missing_stems: bool) -> dict[str, Any]:
    def paths(given: _Paths) -> list[str]:
        several = [given] if isinstance(given, (str, os.PathLike)) else given
        return [os.fspath(path) for path in several]

    return {"roots": paths(data), "noise": paths(noise), "allow_missing_stems": allow_missing_stems}


def split(
    data: _Paths,
    validation_fraction: float = 0.2,
    *,
    noise_folds: Sequence[int] = (5,),
    seed: int = 1,
    noise: _Paths = (),
    allow_missing_stems: bool = False,
) -> Split:
    """Divides the songs by recording, stratified by genre, before anything is mixed; `noise_folds` judge.

    Give one side to `remix(songs=split["train"], noise_folds=split["train_folds"])`, the other to a second `remix`.
    """
    found = _data(data, noise, allow_missing_stems)
    return cast(Split, json.loads(_native.split(found, validation_fraction, list(noise_folds), seed)))


class Mashups(Sequence[Mashup]):
    """`count` mashups of one seed and epoch, each made when it is asked for; see `remix`.

    A sequence, so a `torch.utils.data.DataLoader` takes it as it is, with any number of workers; iterated over inside such a
    worker, it gives that worker's share, so `IterableDataset.__iter__` may return `iter(mashups)`.
    """

    def __init__(self, material: dict[str, Any], seed: int, epoch: int, count: int) -> None:
        """For `remix` to call."""
        for name, value in (("seed", seed), ("epoch", epoch), ("count", count)):
            if not 0 <= value < 2**63:
                raise ConfigError(f"{name} is {value}; it must be from 0 to 2^63 - 1")
        self._material = material
        self._mixer = _native.Mixer(material)
        self.seed = seed
        self.epoch = epoch
        self._count = count

    def __getstate__(self) -> tuple[dict[str, Any], int, int, int]:
        return self._material, self.seed, self.epoch, self._count

    def __setstate__(self, state: tuple[dict[str, Any], int, int, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def genres(self) -> list[str]:
        """The names of the classes, in the order of `label`."""
        return self._mixer.genres

    @property
    def sampling_rate(self) -> int:
        """Hz."""
        return self._mixer.sampling_rate

    def set_epoch(self, epoch: int) -> None:
        """From now on, the mashups of this epoch: others than those of every other epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        """Mashup `index`: the same whenever, wherever and by however many workers it is made."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        number = index + self._count if index < 0 else index
        if not 0 <= number < self._count:
            raise IndexError(f"there is no mashup {index} of {self._count}")
        return self._make(number)[1]

    def recipe(self, index: int) -> dict[str, Any]:
        """What mashup `index` is made of: songs, positions, gains, tempo, noises. `render` makes its sound again."""
        return self._make(range(self._count)[index])[0]

    def render(self, recipe: dict[str, Any]) -> NDArray[np.float32]:
        """The sound of a recipe, sample for sample."""
        return self._mixer.render(json.dumps(recipe))

    def __iter__(self) -> Iterator[Mashup]:
        """All mashups in order; inside a worker of a `DataLoader`, those that are its share."""
        first, step = _share()
        for index in range(first, self._count, step):
            yield self[index]

    def write(self, folder: str | os.PathLike[str], progress: Callable[[int, int], object] | None = None) -> None:
        """Writes all of them (of epoch 0) as `00000.wav`, ... with their recipes in `recipes.jsonl`.

        `progress` is told how many of how many are done.
        """
        if self.epoch != 0:
            raise ConfigError(f"only mashups of epoch 0 can be written as files; this is epoch {self.epoch}")
        self._mixer.write(self.seed, self._count, os.fspath(folder), progress)

    def _make(self, index: int) -> tuple[dict[str, Any], Mashup]:
        text, samples = self._mixer.make(self.seed, self.epoch, index)
        recipe = json.loads(text)
        genre = recipe["genre"]
        return recipe, {
            "array": samples,
            "sampling_rate": self.sampling_rate,
            "label": self.genres.index(genre),
            "genre": genre,
        }


def _share() -> tuple[int, int]:
    """First index and step of this process's share. torch is not imported: a worker of its loader has it already."""
    data = sys.modules.get("torch.utils.data")
    worker = data.get_worker_info() if data is not None else None
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


def remix(
    data: _Paths,
    *,
    count: int,
    seed: int = 1,
    epoch: int = 0,
    songs: Sequence[str] | None = None,
    noise_folds: Sequence[int] | None = None,
    noise: _Paths = (),
    allow_missing_stems: bool = False,
    options: dict[str, Any] | None = None,
    cache_mebibytes: int = 1024,
    num_threads: int | None = 1,
) -> Mashups:
    """`count` mashups of the Messy Mashup data at or below `data`, each made when it is asked for.

    What mashup `index` is depends on (seed, epoch, index) and the data alone. `songs` and `noise_folds` are those of one side
    of a `split`; `None`: all. `noise`: further folders of noise. `options`: settings of the recombination, the keys of a
    recipe's `[remix]` table, such as `{"seconds": 5.0, "noise_counts": [1, 0, 0, 0]}`.
    `cache_mebibytes`: what decoded stems may take in each process.

    Raises `DatasetError` where the data lacks something, `ConfigError` for a setting that cannot be.
    """
    material = {
        "data": _data(data, noise, allow_missing_stems),
        "songs": None if songs is None else list(songs),
        "noise_folds": None if noise_folds is None else list(noise_folds),
        "options": json.dumps(options or {}),
        "cache_mebibytes": cache_mebibytes,
        "num_threads": num_threads,
    }
    return Mashups(material, seed, epoch, count)
