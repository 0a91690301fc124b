"""The model's input is that of ASTFeatureExtractor."""

import json
import struct

import numpy as np
import pytest
from made import GOLDEN, RATE, read_wav

import messymash
from messymash import Classifier, extract_features


def golden():
    """The tensors of expected.safetensors, by name."""
    raw = (GOLDEN / "features/expected.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(raw[8 + size :][slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }


EXPECTED = golden()
SOUNDS = sorted(name.removesuffix(".input_values") for name in EXPECTED if name.endswith(".input_values"))


@pytest.mark.parametrize("name", SOUNDS)
def test_golden_input(name):
    assert len(SOUNDS) == 11
    path = GOLDEN / "features" / f"{name}.wav"
    for features in (extract_features(read_wav(path), RATE), extract_features(path), Classifier().extract_features(path)):
        assert features.shape == (1024, 128) and features.dtype == np.float32
        rows = EXPECTED[f"{name}.input_rows"]
        # Pure tones: far from the tone, energies end where single precision does.
        within = 2e-2 if name in ("tone", "chirp") else 2e-4
        np.testing.assert_allclose(features[rows], EXPECTED[f"{name}.input_values"], atol=within)


def test_several_and_settings():
    paths = [GOLDEN / "features" / f"{name}.wav" for name in ("music", "noise", "three_seconds")]
    several = extract_features(paths)
    assert several.shape == (3, 1024, 128)
    for one, path in zip(several, paths, strict=True):
        np.testing.assert_array_equal(one, extract_features(path))
    assert extract_features([]).shape == (0, 1024, 128)
    raw = extract_features(paths[0], do_normalize=False, max_length=50, num_mel_bins=64, num_threads=1)
    cut = extract_features(paths[0], max_length=50, num_mel_bins=64)
    assert raw.shape == (50, 64)
    np.testing.assert_allclose(cut, (raw - -4.2677393) / (2 * 4.5689974), atol=1e-5)
    other = extract_features(paths[0], max_length=50, num_mel_bins=64, mean=1.0, std=2.0)
    np.testing.assert_allclose(other, (raw - 1) / 4, atol=1e-5)
    for wrong in ({"std": 0.0}, {"max_length": 0}, {"num_mel_bins": 10**9}):
        with pytest.raises(messymash.ConfigError):
            extract_features(paths[0], **wrong)
    with pytest.raises(messymash.InvalidAudioError):
        extract_features([read_wav(paths[0]), np.full(900, np.nan, np.float32)], RATE)
