"""Writes crates/messymash/tests/golden/resample: what soxr's HQ makes of a sweep, for the resampler's test.

Needs numpy 2 and soxr 1.1.0 (pip install numpy soxr==1.1.0). For each pair of rates `A-B.f32` holds the output of
soxr.resample(sweep, A, B, quality="HQ") as little-endian float32. The sweep itself is not stored: the test makes the
same one. It lasts SECONDS, rises linearly from 50 Hz to 0.40 times the lower rate (soxr HQ is flat up to 0.456 of it),
has amplitude 0.5, and is faded in and out over FADE seconds by a raised cosine, so that its edges are in band too.
"""

from pathlib import Path

import numpy as np
import soxr

PAIRS = [(44100, 16000), (48000, 16000), (22050, 16000), (8000, 16000)]
SECONDS = 1.0
FADE = 0.05
OUT = Path(__file__).parent.parent / "crates/messymash/tests/golden/resample"


def sweep(rate: int, top: float) -> np.ndarray:
    t = np.arange(round(SECONDS * rate)) / rate
    phase = 2 * np.pi * (50.0 * t + (top - 50.0) * t * t / (2 * SECONDS))
    edge = np.clip(np.minimum(t, SECONDS - t) / FADE, 0.0, 1.0)
    return 0.5 * (0.5 - 0.5 * np.cos(np.pi * edge)) * np.sin(phase)


OUT.mkdir(parents=True, exist_ok=True)
for source, target in PAIRS:
    sound = sweep(source, 0.40 * min(source, target)).astype(np.float32)
    result = soxr.resample(sound, source, target, quality="HQ")
    assert result.dtype == np.float32 and len(result) == round(SECONDS * target)
    result.astype("<f4").tofile(OUT / f"{source}-{target}.f32")
    print(source, target, len(result), np.abs(result).max())
