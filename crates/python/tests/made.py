"""Makes sounds and a small data set."""

import json
import math
import pathlib
import struct
import subprocess
import sys
import wave

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "crates/messymash/tests/golden"
RATE = 16_000


def write_wav(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    pcm = np.clip(np.round(np.asarray(samples) * 32767), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", None))
        file.writeframes(pcm.tobytes())
    return path


def read_wav(path):
    """Samples of a 16-bit mono file, as decoders scale them."""
    with wave.open(str(path)) as file:
        frames = file.readframes(file.getnframes())
    return np.array(struct.unpack(f"<{len(frames) // 2}h", frames), np.float32) / np.float32(32768)


def tone(hertz, seconds, amplitude=0.3):
    return amplitude * np.sin(2 * math.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def python(code):
    """Begins a Python of its own that a Ctrl-C reaches, also where the tests run in the background of a shell, which has it ignored."""
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def write_data(root):
    """Two genres of four songs, one second a stem, and a noise in each of the five folds."""
    rng = np.random.default_rng(2)
    for song in range(4):
        for n, stem in enumerate(["drums", "vocals", "bass", "other"]):
            folder = root / "genres_stems"
            write_wav(folder / f"blues/song{song}/{stem}.wav", tone(200 + 40 * song + 130 * n, 1))
            write_wav(folder / f"rock/song{song}/{stem}.wav", rng.uniform(-0.3, 0.3, RATE))
    table = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        name = f"{fold}-{1000 + fold}-A-0.wav"
        table.append(f"{name},{fold},0,dog,True,{1000 + fold},A")
        write_wav(root / "ESC-50-master/audio" / name, tone(3000 + 500 * fold, 0.25, 0.1))
    (root / "ESC-50-master/meta").mkdir()
    (root / "ESC-50-master/meta/esc50.csv").write_text("\n".join(table) + "\n")
    return root


def judging_model(folder, not_sure_below=0.5, music=9.0, speech=0.0):
    """The bundled model with rules for a verdict; `music` and `speech` are what a detector says of whatever it is given."""
    folder.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (folder / name).write_bytes((ROOT / "models/default" / name).read_bytes())
    zeros = [0.0] * json.loads((folder / "config.json").read_text())["hidden_size"]
    biases = {"music": music, "speech": speech, "noise": 0.0}
    detector = {"least_music": 0.5} | {kind: {"weight": zeros, "bias": bias} for kind, bias in biases.items()}
    (folder / "verdict.json").write_text(json.dumps({"not_sure_below": not_sure_below, "detector": detector}))
    return folder
