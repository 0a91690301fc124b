"""The genre of sound."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, Literal, TypedDict, cast, overload

import numpy as np
from numpy.typing import NDArray

from . import _native
from .errors import ConfigError
from .sounds import Sound, given, is_one


class Prediction(TypedDict):
    """A label and how likely it is, as `transformers` tells it."""

    score: float
    label: str


class Window(TypedDict):
    """What a part of the sound is: from `start` to `end`, seconds."""

    start: float
    end: float
    predictions: list[Prediction]


class Warning(TypedDict):
    """Something that a listener should know: a stable code, and a sentence."""

    code: str
    message: str


class _Verdict(TypedDict, total=False):
    """What may be made of an answer."""

    verdict: Literal["sure", "not_sure", "not_music"]
    reason: Literal["silence", "speech", "noise"]


class Classification(_Verdict):
    """All that is known of a sound: how much was decoded (seconds), the answer, that of each window, and warnings.

    `verdict` is there for silence, and for all sound where the model has rules for it (`verdict.json` beside its weights);
    `reason` where the verdict is `not_music`.
    """

    seconds: float
    predictions: list[Prediction]
    windows: list[Window]
    warnings: list[Warning]


class Classifier:
    """A model that tells the genre of sound, called like `transformers.pipeline("audio-classification")`.

    `Classifier()` is the model that comes with the package, `Classifier.from_pretrained(...)` any other. It can be shared by
    threads, pickled, and used after `fork`.
    """

    def __init__(self, *, precision: Literal["f32", "int8"] | None = None, num_threads: int | None = None) -> None:
        """The bundled model of ten genres.

        `precision`: what it is computed in; by default f32, or int8 for a model that is stored so. `num_threads`: by default
        RAYON_NUM_THREADS, else OMP_NUM_THREADS, else the cores that this process may use.
        """
        self._load(None, precision, num_threads)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        precision: Literal["f32", "int8"] | None = None,
        num_threads: int | None = None,
    ) -> Classifier:
        """A model directory (`config.json`, `preprocessor_config.json`, `model.safetensors`), or the id of one in the local
        Hugging Face cache. Nothing is fetched.

        Raises `CheckpointError` if there is none, or it is damaged.
        """
        self = cls.__new__(cls)
        self._load(os.fspath(model), precision, num_threads)
        return self

    def _load(self, model: str | None, precision: str | None, num_threads: int | None) -> None:
        self._asked = (model, precision, num_threads)
        self._native = _native.Model(model, precision, num_threads)

    def __getstate__(self) -> tuple[str | None, str | None, int | None]:
        return self._asked

    def __setstate__(self, state: tuple[str | None, str | None, int | None]) -> None:
        self._load(*state)

    def __repr__(self) -> str:
        return f"<messymash.Classifier {self._asked[0] or 'bundled'}: {len(self.labels)} labels>"

    @property
    def labels(self) -> list[str]:
        """Labels by class index."""
        return self._native.labels

    @property
    def num_threads(self) -> int:
        """The threads that work is spread over."""
        return self._native.num_threads

    def info(self) -> dict[str, Any]:
        """Facts about the model: size, input, precision, card."""
        return cast(dict[str, Any], json.loads(self._native.info()))

    def fingerprint(self) -> str:
        """What tells this model from every other: a SHA-256 over its files, hexadecimal."""
        return self._native.fingerprint()

    # A path is an iterable of strings too, so the third of these overlaps; the first that fits is meant.
    @overload
    def __call__(self, inputs: Sound, sampling_rate: int | None = ..., *, timeline: Literal[False] = ...,
                 top_k: int | None = ..., function_to_apply: Literal["softmax", "sigmoid", "none"] | None = ...,
                 windows: Literal["all", "first"] = ..., hop: float = ..., tail: Literal["shift", "repeat", "pad"] = ...,
                 max_seconds: float | None = ..., on_error: Literal["raise"] = ...) -> list[Prediction]: ...  # fmt: skip
    @overload
    def __call__(self, inputs: Sound, sampling_rate: int | None = ..., *, timeline: Literal[True],  # type: ignore[overload-overlap]
                 top_k: int | None = ..., function_to_apply: Literal["softmax", "sigmoid", "none"] | None = ...,
                 windows: Literal["all", "first"] = ..., hop: float = ..., tail: Literal["shift", "repeat", "pad"] = ...,
                 max_seconds: float | None = ..., on_error: Literal["raise"] = ...) -> Classification: ...  # fmt: skip
    @overload
    def __call__(self, inputs: Iterable[Sound], sampling_rate: int | None = ..., *, timeline: bool = ...,
                 top_k: int | None = ..., function_to_apply: Literal["softmax", "sigmoid", "none"] | None = ...,
                 windows: Literal["all", "first"] = ..., hop: float = ..., tail: Literal["shift", "repeat", "pad"] = ...,
                 max_seconds: float | None = ..., on_error: Literal["raise", "return"] = ...) -> list[Any]: ...  # fmt: skip
    def __call__(
        self,
        inputs: Sound | Iterable[Sound],
        sampling_rate: int | None = None,
        *,
        top_k: int | None = None,
        function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None,
        windows: Literal["all", "first"] = "all",
        hop: float = 10.24,
        tail: Literal["shift", "repeat", "pad"] = "shift",
        timeline: bool = False,
        max_seconds: float | None = None,
        on_error: Literal["raise", "return"] = "raise",
    ) -> Any:
        """What a sound is, or each of several.

        `inputs`: a path, a file's bytes, mono samples in [-1, 1] with their `sampling_rate` (Hz, required), or
        `{"raw" or "array": samples, "sampling_rate": Hz}`; or an iterable of these.
        `top_k`: how many labels; `None`: all. `function_to_apply`: what makes scores of the model's logits, window by window;
        by default what the model's configuration says, which nearly always is softmax.
        `windows`: "all" hears the whole sound in windows `hop` seconds apart and takes the mean of their scores; "first" hears
        only the first ten seconds, padded with zeros, exactly as `transformers` does. `tail`: what fills the last window.
        `timeline`: a `Classification` with the answer for each window, instead of the list.
        `max_seconds`: longer sound is a `TooLongError` (of "first", only its first seconds count). `on_error`: for several sounds, "return" puts the exception in place of
        the answer of a sound that could not be heard, and goes on.

        Returns `[{"score": float, "label": str}, ...]` by falling score; for several sounds a list of these, in order.
        """
        if top_k is not None and top_k < 0:
            raise ConfigError(f"top_k is {top_k}; it must be 0 or more, or None for all labels")
        if on_error not in ("raise", "return"):
            raise ConfigError(f'on_error is {on_error!r}; it must be one of "raise", "return"')
        hearing = {
            "windows": windows,
            "hop": hop,
            "tail": tail,
            "function_to_apply": function_to_apply,
            "max_seconds": max_seconds,
        }
        one = is_one(inputs)
        keep_going = on_error == "return" and not one
        sounds: list[Any] = [inputs] if one else list(inputs)  # type: ignore[arg-type]
        failures: dict[int, Exception] = {}
        usable = []
        for number, sound in enumerate(sounds):
            try:
                usable.append(given(sound, sampling_rate))
            except (ValueError, TypeError) as error:
                if not keep_going:
                    raise
                failures[number] = error
        heard = iter(self._native.classify(usable, hearing, keep_going))
        answers = [failures[n] if n in failures else _answer(next(heard), top_k, timeline) for n in range(len(sounds))]
        return answers[0] if one else answers

    def extract_features(self, inputs: Sound | Iterable[Sound], sampling_rate: int | None = None) -> NDArray[np.float32]:
        """The model's own input of a sound, `[max_length, num_mel_bins]`; of several, `[sounds, max_length, num_mel_bins]`.

        See `messymash.extract_features`.
        """
        from .features import extract

        return extract(self._native.extractor(), inputs, sampling_rate)


def _answer(heard: str | Exception, top_k: int | None, timeline: bool) -> Any:
    if isinstance(heard, Exception):
        return heard
    answer = json.loads(heard)
    answer["predictions"] = _ranked(answer["predictions"], top_k)
    if not timeline:
        return answer["predictions"]
    for window in answer["windows"]:
        window["predictions"] = _ranked(window["predictions"], top_k)
    return answer


def _ranked(predictions: list[Prediction], top_k: int | None) -> list[Prediction]:
    return [{"score": p["score"], "label": p["label"]} for p in predictions[:top_k]]
