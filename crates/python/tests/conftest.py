"""Fixtures of all tests."""

import numpy as np
import pytest
from made import RATE, tone, write_data, write_wav


@pytest.fixture
def sound(tmp_path):
    """A file of eleven seconds: two windows."""
    rng = np.random.default_rng(1)
    return write_wav(tmp_path / "sound.wav", tone(440, 11) + 0.05 * rng.standard_normal(11 * RATE))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))
