"""Ray Data on a local cluster of three nodes: every file is one row, whatever dies."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest
import ray
from made import GOLDEN, judging_model, write_wav
from ray.cluster_utils import Cluster

import numpy as np

import messymash
import messymash.ray
from messymash.ray import SCHEMA, classify, listed, write_whole

SOUND = np.tile(np.sin(np.arange(16_000) * 0.1) * 0.3, 12)
FILES = 60


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    cluster.nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    root = tmp_path_factory.mktemp("songs")
    for number in range(FILES):
        write_wav(root / f"{number % 3}/{number:03}.wav", SOUND[: 16_000 * (3 + number % 9)])
    (root / "0/bad.mp3").write_bytes(b"this is no sound")
    (root / "0/cover.jpg").write_bytes(b"nor is this")
    return root


def rows(output):
    return [row for file in sorted(output.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def check(output, songs, model=None):
    found = rows(output)
    assert sorted(row["path"] for row in found) == [file.name for file in listed(str(songs))], "every file is one row"
    (bad,) = [row for row in found if row["error"]]
    assert bad["path"].endswith("bad.mp3") and bad["error_code"] == "unsupported_media" and bad["label"] is None
    classifier = messymash.Classifier() if model is None else messymash.Classifier.from_pretrained(model)
    for row in found[:: FILES // 3]:
        if row["error"] is None:
            (best,) = classifier(row["path"], top_k=1)
            assert row["label"] == best["label"] and row["score"] == pytest.approx(best["score"], abs=1e-5)
            assert sum(score for _, score in row["scores"]) == pytest.approx(1, abs=1e-4)


def test_a_node_is_killed_and_every_file_is_one_row(cluster, songs, tmp_path):
    output = tmp_path / "out"
    outcome = {}

    def work():
        outcome.update(classify(str(songs), str(output), actors=2, partition_size=2))

    thread = threading.Thread(target=work)
    thread.start()
    # A node dies when some partitions are done and most are not.
    deadline = time.monotonic() + 300
    while len(list(output.glob("*.parquet"))) < 3:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    done_before = len(list(output.glob("*.parquet")))
    cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)
    thread.join(timeout=300)
    assert not thread.is_alive()
    assert done_before < 31 and outcome["partitions"] == 31 and outcome["rows"] == FILES + 1 and outcome["failed"] == 1
    check(output, songs)


def test_what_is_done_is_not_done_again(cluster, songs, tmp_path):
    output = tmp_path / "out"
    model = str(GOLDEN / "model/small/hf")
    first = classify(str(songs), str(output), model=model, partition_size=8)
    assert first == {"files": FILES + 1, "partitions": 8, "skipped": 0, "rows": FILES + 1, "failed": 1}
    gone = sorted(output.glob("*.parquet"))[2:5]
    kept = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet") if path not in gone}
    for path in gone:
        path.unlink()
    again = classify(str(songs), str(output), model=model, partition_size=8)
    assert again["skipped"] == 5 and again["rows"] == 24
    assert all(path.stat().st_mtime_ns == time_of_change for path, time_of_change in kept.items())
    check(output, songs, model)
    assert classify([str(songs)], f"file://{output}", model=model, partition_size=8)["skipped"] == 8
    with pytest.raises(messymash.ConfigError):
        classify(str(songs / "nothing"), str(output), partition_size=0)
    with pytest.raises(messymash.ConfigError):
        classify(str(songs / "nothing"), str(output), max_bytes=0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(messymash.ConfigError, match="no sound files"):
        classify(str(empty), str(output))


def test_a_verdict_is_told_and_large_files_are_not_read(cluster, songs, tmp_path):
    some = [str(songs / "1/001.wav"), str(songs / "2/008.wav")]  # of 4 s and 11 s
    model = judging_model(tmp_path / "model", not_sure_below=0, music=0, speech=9)
    output = tmp_path / "out"
    report = classify(some, str(output), model=str(model), max_bytes=200_000)
    assert report["rows"] == 2 and report["failed"] == 1
    short, long = rows(output)
    assert short["error"] is None and (short["verdict"], short["reason"]) == ("not_music", "speech")
    assert long["error_code"] == "too_long" and "max_bytes" in long["error"] and long["verdict"] is None
    # Other rules, and other limits, are other answers.
    shutil.rmtree(model)
    judging_model(model, not_sure_below=0)
    assert classify(some, str(output), model=str(model), max_bytes=200_000)["skipped"] == 0
    assert classify(some, str(output), model=str(model))["failed"] == 0
    assert sorted(str(row["verdict"]) for row in rows(output)) == ["None", "None", "not_music", "sure", "sure", "sure"]


def test_what_kills_its_actor_ends_the_run(cluster, songs, tmp_path, monkeypatch):
    tries = tmp_path / "tries"
    tries.mkdir()

    class Killed(messymash.ray.Hear):
        def hear(self, files):
            if any("001.wav" in file.path for file in files):
                (tries / str(time.time_ns())).touch()
                os._exit(1)
            return super().hear(files)

    monkeypatch.setattr(messymash.ray, "Hear", Killed)
    some = [str(songs / "0/000.wav"), str(songs / "1/001.wav")]
    with pytest.raises(ray.exceptions.RayError):
        classify(some, str(tmp_path / "out"), model=str(GOLDEN / "model/small/hf"), partition_size=1)
    assert 1 < len(list(tries.iterdir())) <= 4
    # Without that file the run goes on.
    monkeypatch.undo()
    assert classify(some[:1], str(tmp_path / "out"), model=str(GOLDEN / "model/small/hf"), partition_size=1)["failed"] == 0


def test_two_who_write_one_partition_do_not_meet(tmp_path):
    table = SCHEMA.empty_table()
    with ThreadPoolExecutor(8) as writers:
        written = [writers.submit(write_whole, table, str(tmp_path), "part") for _ in range(64)]
    assert all(future.result() is None for future in written)
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]
    # What cannot be written leaves nothing behind.
    (tmp_path / "full.parquet").mkdir()
    with pytest.raises(OSError):
        write_whole(table, str(tmp_path), "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.parquet", "part.parquet"]
