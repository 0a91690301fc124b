"""Mashups are what (seed, epoch, index) say, whoever makes them; models are judged by them."""

import itertools
import json
import multiprocessing
import pickle
import shutil
import signal
import sys
import types

import numpy as np
import pytest
from made import GOLDEN, ROOT, python, read_wav

import messymash
from messymash import Classifier, remix, split

SHORT = {"seconds": 0.5}


@pytest.fixture
def mashups(data):
    return remix(data, count=8, seed=3, options=SHORT)


def test_a_mashup_is_what_its_numbers_say(data, mashups):
    assert len(mashups) == 8 and mashups.genres == ["blues", "rock"] and mashups.sampling_rate == 16_000
    for index, mashup in enumerate(mashups):
        assert mashup["array"].dtype == np.float32 and mashup["array"].shape == (8000,)
        assert 0.1 < np.abs(mashup["array"]).max() <= 1
        assert mashup["genre"] == mashups.genres[mashup["label"]] == ["blues", "rock"][index % 2]
        assert mashup["sampling_rate"] == 16_000
        recipe = mashups.recipe(index)
        assert recipe["genre"] == mashup["genre"] and recipe["index"] == index
        assert len({part["song"] for part in recipe["parts"]}) > 1
        np.testing.assert_array_equal(mashups.render(recipe), mashup["array"])
    again = remix([str(data)], count=8, seed=3, options=SHORT, num_threads=2)
    np.testing.assert_array_equal(again[5]["array"], mashups[5]["array"])
    np.testing.assert_array_equal(mashups[-3]["array"], mashups[5]["array"])
    assert len(mashups[2:6]) == 4
    others = [remix(data, count=8, seed=4, options=SHORT), remix(data, count=8, seed=3, epoch=1, options=SHORT)]
    mashups.set_epoch(2)
    sounds = [again[5]["array"], mashups[5]["array"], *(other[5]["array"] for other in others)]
    assert all(np.any(a != b) for a, b in itertools.combinations(sounds, 2))
    with pytest.raises(IndexError):
        mashups[8]


def sums(mashups, queue):
    queue.put([float(np.abs(mashup["array"]).sum()) for mashup in mashups])


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_make_the_same(mashups, start):
    expected = [float(np.abs(mashup["array"]).sum()) for mashup in mashups]
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    children = [context.Process(target=sums, args=(mashups, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=120) for _ in children] == [expected, expected]
    for child in children:
        child.join()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mashups))[1]["array"], mashups[1]["array"])


def test_each_worker_of_a_loader_makes_its_share(mashups, monkeypatch):
    loader = types.ModuleType("torch.utils.data")
    monkeypatch.setitem(sys.modules, "torch.utils.data", loader)
    loader.get_worker_info = lambda: None
    everything = [mashup["array"] for mashup in mashups]
    assert len(everything) == 8
    shares = []
    for worker in range(3):
        loader.get_worker_info = lambda worker=worker: types.SimpleNamespace(id=worker, num_workers=3)
        shares.append([mashup["array"] for mashup in mashups])
    assert [len(share) for share in shares] == [3, 3, 2]
    for index, expected in enumerate(everything):
        np.testing.assert_array_equal(shares[index % 3][index // 3], expected)


def test_sides_of_a_split_share_nothing(data):
    sides = split(data, 0.25, noise_folds=[5], seed=1)
    assert len(sides["train"]) == 6 and len(sides["validation"]) == 2
    assert sides["train_folds"] == [1, 2, 3, 4] and sides["validation_folds"] == [5]
    train = remix(data, count=12, songs=sides["train"], noise_folds=sides["train_folds"], options=SHORT)
    used = {part["song"] for index in range(12) for part in train.recipe(index)["parts"]}
    noises = {noise["id"] for index in range(12) for noise in train.recipe(index)["noises"]}
    assert used <= set(sides["train"]) and noises and not any("1005" in noise for noise in noises)


def test_a_folder_of_mashups(mashups, tmp_path):
    told = []
    mashups.write(tmp_path / "out", lambda done, total: told.append((done, total)))
    assert told == [(n, 8) for n in range(1, 9)]
    lines = [json.loads(line) for line in (tmp_path / "out/recipes.jsonl").read_text().splitlines()]
    assert [line["remix"] for line in lines] == [mashups.recipe(n) for n in range(8)]
    np.testing.assert_allclose(read_wav(tmp_path / "out/00003.wav"), mashups[3]["array"], atol=1 / 32768)
    with pytest.raises(messymash.ConfigError):
        mashups.write(tmp_path / "out")

    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mashups.write(tmp_path / "other", stop)


def test_wrong_settings_are_named(data):
    for options in ({"second": 5.0}, {"seconds": -1}, {"noise_counts": [0.5, 0, 0, 0]}):
        with pytest.raises(messymash.ConfigError, match=next(iter(options))):
            remix(data, count=1, options=options)
    with pytest.raises(messymash.ConfigError, match="blues/nobody"):
        remix(data, count=1, songs=["blues/nobody"])
    with pytest.raises(messymash.ConfigError):
        remix(data, count=-1)
    with pytest.raises(messymash.DatasetError):
        remix(data / "ESC-50-master/meta", count=1)


def test_a_model_is_judged(data, tmp_path):
    told = []
    judged = messymash.evaluate(
        Classifier(), data, mashups=20, seed=7, options=SHORT, progress=lambda *at: told.append(at)
    )
    assert told[-1] == (20, 20) and len(judged["evaluation"]["items"]) == 20
    measures = judged["measures"]
    assert 0 <= measures["macro_f1"]["low"] <= measures["macro_f1"]["value"] <= measures["macro_f1"]["high"] <= 1
    for figure in ("macro_f1", "accuracy"):
        resampled = measures["bootstrap"][figure]
        assert resampled["value"] == measures[figure]["value"]
        assert 0 <= resampled["low"] < resampled["high"] <= 1
    right = [max(range(10), key=item["scores"].__getitem__) == item["truth"] for item in judged["evaluation"]["items"]]
    assert measures["accuracy"]["value"] == pytest.approx(np.mean(right))
    # Nothing tells what this one was trained on; the bundled one was trained on other songs.
    nothing_known = Classifier.from_pretrained(GOLDEN / "model/small/hf")
    with pytest.raises(messymash.ConfigError, match="split"):
        messymash.evaluate(nothing_known, data, protocol="new-mashups")
    with pytest.raises(messymash.Error):
        messymash.evaluate(Classifier(), data, protocol="new-mashups")
    # With the split of its training it is judged by songs that it never heard, and by no others.
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (model / name).write_bytes((ROOT / "models/default" / name).read_bytes())
    sides = tmp_path / "split.json"
    sides.write_text(json.dumps(split(data, 0.25)))
    judged = messymash.evaluate(
        Classifier.from_pretrained(model), data, protocol="unseen-songs",
        split=sides, mashups=4, options={"seconds": 0.5, "noise_counts": [1, 0, 0, 0]},
    )  # fmt: skip
    assert {song for item in judged["evaluation"]["items"] for song in item["songs"]} <= set(split(data, 0.25)["validation"])
    # A split without a protocol means the same songs; without both, all of them.
    classifier = Classifier.from_pretrained(model)
    judged = messymash.evaluate(classifier, data, split=sides, mashups=4, options=SHORT)["evaluation"]
    assert {song for item in judged["items"] for song in item["songs"]} <= set(split(data, 0.25)["validation"])
    assert "of unheard songs, unheard noise" in judged["title"]
    title = messymash.evaluate(classifier, data, mashups=2, options=SHORT)["evaluation"]["title"]
    assert "of all" in title, title
    # A split by which what trained the model would judge it.
    (model / "split.json").write_text(sides.read_text())
    own = json.loads(sides.read_text())
    sides.write_text(json.dumps(own | {"train": own["validation"], "validation": own["train"]}))
    with pytest.raises(messymash.ConfigError, match="trained this model"):
        messymash.evaluate(classifier, data, split=sides, mashups=2, options=SHORT)


def test_whole_songs_are_judged_by_and_those_of_the_training_only_if_asked_for(tmp_path):
    songs = tmp_path / "songs/rock"
    songs.mkdir(parents=True)
    for name in ("a.wav", "b.wav", "c.wav"):
        (songs / name).write_bytes((GOLDEN / "features/noise.wav").read_bytes())
    model = tmp_path / "model"
    shutil.copytree(ROOT / "models/default", model)
    own = {"seed": 1, "train": ["rock/a"], "validation": ["rock/b"], "train_folds": [1], "validation_folds": [2]}
    (model / "split.json").write_text(json.dumps(own))
    classifier = Classifier.from_pretrained(model)

    def judged(**by):
        evaluation = messymash.evaluate(classifier, songs=tmp_path / "songs", **by)["evaluation"]
        assert {evaluation["labels"][item["truth"]] for item in evaluation["items"]} == {"rock"}
        return [item["name"] for item in evaluation["items"]], evaluation["title"]

    names, title = judged()
    assert names == ["rock/a", "rock/b", "rock/c"] and "1 of them trained the model" in title
    for by, of in (
        ({"protocol": "unseen-songs"}, "rock/b"),
        ({"split": model / "split.json"}, "rock/b"),
        ({"protocol": "new-mashups"}, "rock/a"),
    ):
        with pytest.warns(UserWarning, match="1 songs in .* are not in the split and are left out, such as rock/c"):
            assert judged(**by)[0] == [of]
    # A split that takes what trained this model for unheard.
    other = tmp_path / "other.json"
    other.write_text(json.dumps(own | {"train": ["rock/b"], "validation": ["rock/a"]}))
    with pytest.raises(messymash.ConfigError, match="rock/a"):
        judged(split=other)
    with pytest.raises(messymash.ConfigError, match="one of the two"):
        messymash.evaluate(classifier, tmp_path, songs=tmp_path / "songs")


@pytest.mark.parametrize(
    "work",
    [
        "messymash.evaluate(messymash.Classifier(num_threads=1), data, mashups=100_000, options=short, progress=tell)",
        "messymash.remix(data, count=100_000, options=short).write(out, tell)",
    ],
)
def test_ctrl_c_ends_long_work(data, tmp_path, work):
    code = f"""
import messymash
data, out, short = {str(data)!r}, {str(tmp_path / "out")!r}, {SHORT!r}

def tell(done, total):
    if done in (1, 16):
        print("at work", flush=True)

try:
    {work}
except KeyboardInterrupt:
    print("stopped")
"""
    process = python(code)
    try:
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=120)[0].endswith("stopped\n") and process.returncode == 0
    finally:
        process.kill()
