"""Tests of overlap.py and average.py, with the bundled model and the wheel (`tools/check_python.sh` runs them)."""
import json
import pathlib
import subprocess
import sys

import messymash
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "models/default"
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix != ".md")
POSITIONS = "audio_spectrogram_transformer.embeddings.position_embeddings"


def run(tool, *args):
    return subprocess.run([sys.executable, ROOT / "tools" / tool, *map(str, args)], capture_output=True, text=True)


def made(tool, *args):
    done = run(tool, *args)
    assert done.returncode == 0, done.stderr
    return args[-1]


def scores(model):
    classifier = messymash.Classifier.from_pretrained(str(model))
    return np.array([[entry["score"] for entry in sorted(answer, key=lambda entry: entry["label"])]
                     for answer in (classifier(str(path), top_k=10) for path in SAMPLES)])


def test_patches_come_closer_and_go_apart_again(tmp_path):
    bundled = load_file(BUNDLED / "model.safetensors")
    config = json.loads((BUNDLED / "config.json").read_text())
    stride = config["time_stride"]
    closer = made("overlap.py", BUNDLED, "--time-stride", stride // 2, "--out", tmp_path / "closer")
    known, between = bundled[POSITIONS], load_file(closer / "model.safetensors")[POSITIONS]
    rows = (config["num_mel_bins"] - config["patch_size"]) // config["frequency_stride"] + 1
    places = (known.shape[1] - 2) // rows
    assert between.shape == (1, 2 + rows * (2 * places - 1), known.shape[2])
    grid = between[0, 2:].reshape(rows, 2 * places - 1, -1)
    np.testing.assert_array_equal(grid[:, ::2], known[0, 2:].reshape(rows, places, -1))
    np.testing.assert_allclose(grid[:, 1], (grid[:, 0].astype("f8") + grid[:, 2]) / 2, rtol=1e-3, atol=1e-4)
    # The same sound, looked at more often: other scores, but not of another world.
    difference = np.abs(scores(closer) - scores(BUNDLED))
    assert 1e-4 < difference.max() < 0.5

    again = made("overlap.py", closer, "--time-stride", stride, "--out", tmp_path / "again")
    assert json.loads((again / "config.json").read_text()) == config
    for name, weights in load_file(again / "model.safetensors").items():
        np.testing.assert_array_equal(weights, bundled[name])


def test_the_mean_of_two_models(tmp_path):
    bundled = load_file(BUNDLED / "model.safetensors")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (other / name).write_bytes((BUNDLED / name).read_bytes())
    save_file({name: 3 * weights.astype("f4") for name, weights in bundled.items()}, other / "model.safetensors")
    mean = load_file(made("average.py", BUNDLED, other, "--out", tmp_path / "mean") / "model.safetensors")
    assert mean.keys() == bundled.keys()
    for name, weights in mean.items():
        np.testing.assert_allclose(weights, 2 * bundled[name].astype("f4"), rtol=1e-6)

    alone = made("average.py", BUNDLED, BUNDLED, "--out", tmp_path / "alone")
    np.testing.assert_allclose(scores(alone), scores(BUNDLED), atol=1e-6)


def test_what_trained_a_model_goes_with_its_weights(tmp_path):
    def in_run(name, **split):
        folder = tmp_path / name / "last"
        folder.mkdir(parents=True)
        for file in ("config.json", "preprocessor_config.json", "model.safetensors"):
            (folder / file).write_bytes((BUNDLED / file).read_bytes())
        (tmp_path / name / "config.toml").touch()
        folds = {"seed": 1, "train_folds": [1, 2], "validation_folds": [5]}
        (tmp_path / name / "split.json").write_text(json.dumps(folds | split))
        return folder

    a = in_run("a", train=["blues/1", "rock/1"], validation=["rock/rock.00002.a"])
    b = in_run("b", train=["blues/1", "blues/3"], validation=["blues/4"], train_folds=[3],
               before={"songs": ["rock/7"], "folds": [4]})
    mean = json.loads((made("average.py", a, b, "--out", tmp_path / "mean") / "split.json").read_text())
    assert mean["train"] == ["blues/1", "rock/1"] and mean["validation"] == ["rock/rock.00002.a"]
    assert mean["before"] == {"songs": ["blues/3", "rock/7"], "folds": [3, 4]}
    leaks = [in_run("c", train=["rock/rock.00002.z#2"], validation=[]), in_run("d", train=[], validation=[], train_folds=[5])]
    for leak, named in zip(leaks, ("rock/rock.00002.a", "such as 5")):
        refused = run("average.py", a, leak, "--out", tmp_path / "leak")
        assert refused.returncode != 0 and named in refused.stderr and not (tmp_path / "leak").exists()
    (leaks[0].parent / "split.json").unlink()
    unknown = made("average.py", a, leaks[0], "--out", tmp_path / "unknown")
    assert not (unknown / "split.json").exists()
    closer = made("overlap.py", a, "--time-stride", 16, "--out", tmp_path / "closer")
    assert json.loads((closer / "split.json").read_text()) == json.loads((tmp_path / "a/split.json").read_text())


def test_patches_come_closer_in_frequency_too(tmp_path):
    known = load_file(BUNDLED / "model.safetensors")[POSITIONS]
    config = json.loads((BUNDLED / "config.json").read_text())
    assert (config["frequency_stride"], config["patch_size"], config["num_mel_bins"]) == (32, 32, 128)
    both = made("overlap.py", BUNDLED, "--time-stride", 16, "--frequency-stride", 16, "--out", tmp_path / "both")
    grid = load_file(both / "model.safetensors")[POSITIONS][0, 2:].reshape(7, 63, -1).astype("f8")
    coarse = known[0, 2:].reshape(4, 32, -1).astype("f8")
    np.testing.assert_array_equal(grid[::2, ::2], coarse)
    np.testing.assert_allclose(grid[1::2, ::2], (coarse[:-1] + coarse[1:]) / 2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(grid[3, 5], coarse[1:3, 2:4].mean((0, 1)), rtol=1e-3, atol=1e-4)
    difference = np.abs(scores(both) - scores(BUNDLED))
    assert 1e-4 < difference.max() < 0.7

    again = made("overlap.py", both, "--time-stride", 32, "--frequency-stride", 32, "--out", tmp_path / "again")
    for name, weights in load_file(again / "model.safetensors").items():
        np.testing.assert_array_equal(weights, load_file(BUNDLED / "model.safetensors")[name])


@pytest.mark.parametrize(("model", "axis", "stride", "said"), [
    (BUNDLED, "time", 0, "give 1 to 992 frames"),
    (BUNDLED, "time", 993, "give 1 to 992 frames"),
    (BUNDLED, "frequency", 97, "give 1 to 96 mel bins"),
    (ROOT / "samples", "time", 16, "has no config.json"),
])
def test_what_cannot_be_is_refused_in_words(tmp_path, model, axis, stride, said):
    done = run("overlap.py", model, f"--{axis}-stride", stride, "--out", tmp_path / "out")
    assert done.returncode != 0 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_models_of_two_shapes_have_no_mean(tmp_path):
    closer = made("overlap.py", BUNDLED, "--time-stride", 16, "--out", tmp_path / "closer")
    done = run("average.py", BUNDLED, closer, "--out", tmp_path / "out")
    assert done.returncode != 0 and "has not the tensors of" in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_and_no_model_is_no_model(tmp_path):
    (tmp_path / "there").mkdir()
    for args in (["overlap.py", BUNDLED, "--time-stride", 16], ["average.py", BUNDLED, BUNDLED]):
        done = run(*args, "--out", tmp_path / "there")
        assert done.returncode != 0 and "is there already" in done.stderr and "Traceback" not in done.stderr
    assert not any((tmp_path / "there").iterdir())
    done = run("overlap.py", BUNDLED, "--out", tmp_path / "out")
    assert done.returncode != 0 and "give --time-stride, --frequency-stride or both" in done.stderr and not (tmp_path / "out").exists()
    done = run("average.py", BUNDLED, ROOT / "samples", "--out", tmp_path / "out")
    assert done.returncode != 0 and "has no model.safetensors" in done.stderr and "Traceback" not in done.stderr
