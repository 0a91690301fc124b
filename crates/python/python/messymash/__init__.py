"""Tells the genre of messy audio with an Audio Spectrogram Transformer (AST), and makes mashups to train your own model on.

    >>> from messymash import Classifier
    >>> Classifier()("song.mp3", top_k=1)
    [{'score': 0.536, 'label': 'disco'}]

Everything is computed by a library in Rust: no torch, no ffmpeg, no network. The interpreter is free meanwhile.
"""

from ._native import num_threads
from .classifier import Classification, Classifier, Prediction, Warning, Window
from .errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    Error,
    InvalidAudioError,
    IoError,
    RunError,
    TooLongError,
    TooShortError,
    UnsupportedMediaError,
)
from .evaluation import evaluate
from .features import extract_features
from .mashups import Mashup, Mashups, Split, remix, split
from .sounds import Sound

__all__ = [
    "CheckpointError",
    "Classification",
    "Classifier",
    "ConfigError",
    "DatasetError",
    "Error",
    "InvalidAudioError",
    "IoError",
    "Mashup",
    "Mashups",
    "Prediction",
    "RunError",
    "Sound",
    "Split",
    "TooLongError",
    "TooShortError",
    "UnsupportedMediaError",
    "Warning",
    "Window",
    "evaluate",
    "extract_features",
    "num_threads",
    "remix",
    "split",
]
