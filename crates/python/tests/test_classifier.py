"""What a sound is: the pipeline's answer, every way in, and what cannot be heard."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from made import GOLDEN, RATE, ROOT, judging_model, python, read_wav, write_wav

import messymash
from messymash import Classifier

CASES = json.loads((GOLDEN / "pipeline.json").read_text())


@pytest.fixture(scope="module")
def models():
    return {
        "small": Classifier.from_pretrained(GOLDEN / "model/small/hf"),
        "strided": Classifier.from_pretrained(str(GOLDEN / "model/strided/hf")),
        "default": Classifier(),
    }


@pytest.fixture(scope="module")
def small(models):
    return models["small"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['model']}-{c['sound']}-{c['function_to_apply']}")
def test_the_pipeline_is_answered_alike(models, case):
    path = GOLDEN / "features" / f"{case['sound']}.wav"
    asked = {"windows": "first", "function_to_apply": case["function_to_apply"]}
    within = 1e-3 if case["function_to_apply"] == "none" else 1e-4
    classifier = models[case["model"]]
    answers = [classifier(path, **asked), classifier(read_wav(path), RATE, **asked)]
    for answer in answers:
        assert len(answer) == len(case["answer"])
        for ours, (label, score) in zip(answer, case["answer"], strict=True):
            assert ours.keys() == {"score", "label"}
            assert ours["score"] == pytest.approx(score, abs=within)
            tied = sum(abs(other - score) < 2 * within for _, other in case["answer"])
            assert ours["label"] == label or tied > 1
    for k in (0, 1, 3, 99):
        assert classifier(path, top_k=k, **asked) == answers[0][:k]


def test_every_way_in_is_the_same_sound(small, sound):
    expected = small(sound)
    samples = read_wav(sound)
    for given in (
        [str(sound)],
        [sound.read_bytes()],
        [bytearray(sound.read_bytes())],
        [samples, RATE],
        [samples.astype(np.float64), RATE],
        [np.stack([samples, samples], axis=1)[:, 0], RATE],
        [{"raw": samples, "sampling_rate": RATE}],
        [{"path": None, "array": samples, "sampling_rate": np.int64(RATE)}],
    ):
        answer = small(*given)
        assert [p["label"] for p in answer] == [p["label"] for p in expected]
        assert [p["score"] for p in answer] == pytest.approx([p["score"] for p in expected], abs=1e-6)


def test_a_timeline_has_each_window_and_the_mean_of_all(small, sound):
    heard = small(sound, timeline=True, hop=0.2, top_k=2)
    assert heard["seconds"] == pytest.approx(11) and heard["warnings"] == []
    starts = [window["start"] for window in heard["windows"]]
    assert len(starts) > 50 and starts[:-1] == pytest.approx([0.2 * n for n in range(len(starts) - 1)])
    assert all(len(window["predictions"]) == 2 for window in heard["windows"])
    whole = small(sound, timeline=True, hop=0.2)
    best = whole["predictions"][0]
    scores = [p["score"] for w in whole["windows"] for p in w["predictions"] if p["label"] == best["label"]]
    assert best["score"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert small(sound, hop=0.2) == whole["predictions"]
    assert len(small(sound, timeline=True, windows="first")["windows"]) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_several_sounds_are_answered_in_order(tmp_path, threads):
    classifier = Classifier.from_pretrained(GOLDEN / "model/small/hf", num_threads=threads)
    assert classifier.num_threads == threads
    paths = [GOLDEN / "features" / f"{name}.wav" for name in ("music", "noise", "tone", "chirp", "silence")] * 4
    expected = [classifier(path) for path in paths]
    assert classifier(paths) == expected
    assert classifier(iter(paths)) == expected
    assert classifier([]) == []
    # A bad file ends the work, or stands in its place.
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound at all")
    with_bad = [paths[0], bad, np.zeros(10, np.float32), *paths[1:]]
    with pytest.raises(messymash.UnsupportedMediaError):
        classifier(with_bad[:2] + paths)
    heard = classifier(with_bad, on_error="return", top_k=1)
    assert isinstance(heard[1], messymash.UnsupportedMediaError) and isinstance(heard[2], messymash.ConfigError)
    assert [heard[0], *heard[3:]] == [answer[:1] for answer in expected]


def test_errors_are_of_their_kind(small, tmp_path, sound):
    text = tmp_path / "a.txt"
    text.write_text("This is a text, and no sound. " * 9)
    samples = read_wav(sound)
    for kind, also, code, call in [
        (messymash.IoError, OSError, "io", lambda: small(tmp_path / "nothing.wav")),
        (messymash.UnsupportedMediaError, ValueError, "unsupported_media", lambda: small(text)),
        (messymash.InvalidAudioError, ValueError, "invalid_audio", lambda: small(b"")),
        (messymash.InvalidAudioError, ValueError, "invalid_audio", lambda: small(np.zeros((2, 900)), RATE)),
        (messymash.InvalidAudioError, ValueError, "invalid_audio", lambda: small(np.zeros(900, np.int16), RATE)),
        (messymash.InvalidAudioError, ValueError, "invalid_audio", lambda: small(samples, 3)),
        (messymash.TooShortError, ValueError, "too_short", lambda: small(samples[:399], RATE)),
        (messymash.TooLongError, ValueError, "too_long", lambda: small(sound, max_seconds=5)),
        (messymash.ConfigError, ValueError, "config", lambda: small(samples)),
        (messymash.ConfigError, ValueError, "config", lambda: small({"array": samples})),
        (messymash.ConfigError, ValueError, "config", lambda: small(sound, hop=0)),
        (messymash.ConfigError, ValueError, "config", lambda: small(sound, windows="last")),
        (messymash.ConfigError, ValueError, "config", lambda: small(sound, tail="cut")),
        (messymash.ConfigError, ValueError, "config", lambda: small(sound, function_to_apply="tanh")),
        (messymash.ConfigError, ValueError, "config", lambda: small(sound, top_k=-1)),
        (messymash.ConfigError, ValueError, "config", lambda: small("https://example.invalid/song.mp3")),
        (messymash.ConfigError, ValueError, "config", lambda: Classifier(num_threads=0)),
        (messymash.ConfigError, ValueError, "config", lambda: Classifier(precision="f8")),
        (messymash.CheckpointError, Exception, "checkpoint", lambda: Classifier.from_pretrained("nobody/no-model")),
        (messymash.CheckpointError, Exception, "checkpoint", lambda: Classifier.from_pretrained(tmp_path)),
        (messymash.DatasetError, Exception, "dataset", lambda: messymash.remix(tmp_path, count=1)),
    ]:  # fmt: skip
        with pytest.raises(kind) as caught:
            call()
        error = caught.value
        assert isinstance(error, (messymash.Error)) and isinstance(error, also) and error.code == code
        assert len(str(error)) > 15
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)
    with pytest.raises(TypeError):
        small(3.0)


def test_other_precision_and_facts(sound):
    classifier = Classifier(precision="int8")
    assert classifier.info()["precision"] == "int8" and len(classifier.labels) == 10
    assert classifier.fingerprint() == Classifier().fingerprint() and len(classifier.fingerprint()) == 64
    best = Classifier()(ROOT / "samples/mashup.flac", top_k=1)[0]["label"]
    assert classifier(ROOT / "samples/mashup.flac", top_k=1)[0]["label"] == best == "disco"
    again = pickle.loads(pickle.dumps(classifier))
    assert again(sound) == classifier(sound) and again.info() == classifier.info()


def threads_with(**variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS")}
    code = "import messymash; print(messymash.num_threads(), messymash.Classifier().num_threads)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def test_threads_are_those_that_others_grant():
    assert threads_with(RAYON_NUM_THREADS="3", OMP_NUM_THREADS="5") == ["3", "3"]
    assert threads_with(OMP_NUM_THREADS="5,2") == ["5", "5"]
    cores = str(len(os.sched_getaffinity(0)))
    assert threads_with(OMP_NUM_THREADS="many") == [cores, cores]


def test_neither_torch_nor_transformers_is_imported():
    code = "import sys, messymash; messymash.Classifier(); print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_interpreter_is_free_meanwhile(tmp_path):
    long = write_wav(tmp_path / "long.wav", np.tile(read_wav(GOLDEN / "features/music.wav"), 150))
    classifier = Classifier(num_threads=1)
    beats, done = [], threading.Event()

    def beat():
        while not done.is_set():
            beats.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=beat)
    thread.start()
    classifier(long)
    done.set()
    thread.join()
    # Were the lock held, the other thread would have had none of it from beginning to end.
    assert len(beats) > 20


def test_ctrl_c_ends_the_work(tmp_path):
    long = write_wav(tmp_path / "long.wav", np.tile(read_wav(GOLDEN / "features/music.wav"), 150))
    code = f"""
import messymash, sys
classifier = messymash.Classifier(num_threads=1)
print("ready", flush=True)
try:
    classifier([{str(long)!r}] * 1000)
except KeyboardInterrupt:
    print("stopped")
"""
    process = python(code)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=120)[0] == "stopped\n" and process.returncode == 0
    finally:
        process.kill()


def answer_in_child(classifier, path, queue):
    queue.put(classifier(path))


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_children_can_use_it(sound, start):
    classifier = Classifier.from_pretrained(GOLDEN / "model/small/hf", num_threads=2)
    expected = classifier(sound)  # the threads of this process are there before the child is
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    child = context.Process(target=answer_in_child, args=(classifier, sound, queue))
    child.start()
    assert queue.get(timeout=120) == expected
    child.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_may_free_what_its_parent_used(sound):
    for _ in range(10):
        classifier = Classifier.from_pretrained(GOLDEN / "model/small/hf", num_threads=4)
        classifier(sound)
        child = os.fork()
        if child == 0:
            del classifier
            os._exit(0)
        deadline = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        if ended == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert ended == (child, 0)


def test_a_timeline_tells_the_verdict(sound, tmp_path):
    for number, (rules, verdict) in enumerate([
        ({"not_sure_below": 0}, {"verdict": "sure"}),
        ({"not_sure_below": 1}, {"verdict": "not_sure"}),
        ({"music": 0, "speech": 9}, {"verdict": "not_music", "reason": "speech"}),
    ]):  # fmt: skip
        classifier = Classifier.from_pretrained(judging_model(tmp_path / str(number), **rules))
        answer = classifier(sound, timeline=True)
        assert {key: answer[key] for key in ("verdict", "reason") if key in answer} == verdict
    silence = Classifier()(np.zeros(16_000, np.float32), 16_000, timeline=True)
    assert (silence["verdict"], silence["reason"]) == ("not_music", "silence")
