"""messymash.ray with inputs and output on S3: moto's server on loopback stands for the service."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow.fs as fs
import pyarrow.parquet as pq
import pytest
import ray
from made import GOLDEN, ROOT, tone, write_wav
from moto.server import ThreadedMotoServer

import messymash
from messymash.ray import bare, classify, listed

sys.path.append(str(ROOT / "tools"))
import book  # noqa: E402: the pages and the blocks in them that are run

NAMES = ["a.wav", "folder/b & c, 100 %.wav", "folder/d?e#f.wav", "folder/ä.wav"]


@pytest.fixture(scope="module")
def endpoint():
    """What the addresses end with. Credentials are where Ray's processes find them: in the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        yield f"endpoint_override={quote(f'{host}:{port}')}&scheme=http"
    server.stop()


@pytest.fixture(scope="module")
def store(endpoint, tmp_path_factory):
    """A bucket with songs in it, one of them broken."""
    store, _ = fs.FileSystem.from_uri(f"s3://bucket?{endpoint}&allow_bucket_creation=true")
    store.create_dir("bucket")
    for number, name in enumerate(NAMES):
        file = write_wav(tmp_path_factory.mktemp("songs") / "song.wav", tone(200 + 100 * number, 2 + 4 * number))
        with store.open_output_stream(f"bucket/songs/{name}") as stream:
            stream.write(file.read_bytes())
    with store.open_output_stream("bucket/songs/folder/broken.mp3") as stream:
        stream.write(b"this is no sound")
    return store


@pytest.fixture(scope="module")
def cluster(endpoint):
    ray.init(num_cpus=2, log_to_driver=False, object_store_memory=80_000_000)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def rows(store, folder):
    files = [info for info in store.get_file_info(fs.FileSelector(folder)) if info.type == fs.FileType.File]
    assert all(info.base_name.endswith(".parquet") for info in files), files
    return [row for info in files for row in pq.read_table(info.path, filesystem=store).to_pylist()], files


def test_songs_and_answers_on_s3_and_nothing_twice(endpoint, store, cluster):
    songs, output = f"s3://bucket/songs?{endpoint}", f"s3://bucket/predictions?{endpoint}"
    model = str(GOLDEN / "model/small/hf")
    report = classify(songs, output, model=model, partition_size=2)
    assert report == {"files": 5, "partitions": 3, "skipped": 0, "rows": 5, "failed": 1}
    found, files = rows(store, "bucket/predictions")
    assert sorted(row["path"] for row in found) == sorted(f"s3://bucket/songs/{name}" for name in [*NAMES, "folder/broken.mp3"])
    classifier = messymash.Classifier.from_pretrained(model)
    for row in found:
        if row["path"].endswith("broken.mp3"):
            assert row["error_code"] == "unsupported_media"
            continue
        with store.open_input_stream(row["path"].removeprefix("s3://")) as stream:
            answer = classifier(stream.read(), timeline=True)
        best = answer["predictions"][0]
        assert row["label"] == best["label"] and row["score"] == pytest.approx(best["score"], abs=1e-5)
        assert row["seconds"] == answer["seconds"]

    begun = time.time()
    assert classify(songs, output, model=model, partition_size=2) == {
        "files": 5, "partitions": 3, "skipped": 3, "rows": 0, "failed": 0,
    }  # fmt: skip
    # Keys in the address are the same inputs, and stand in no row.
    keys = f"s3://somebody:secret@bucket/songs/?{endpoint}"
    assert classify(keys, output, model=model, partition_size=2)["skipped"] == 3
    assert [info.mtime for info in rows(store, "bucket/predictions")[1]] == [info.mtime for info in files]
    assert all(info.mtime.timestamp() < begun for info in files)
    assert bare(keys) == "s3://bucket/songs" and "secret" not in str([file.name for file in listed(keys)])


def test_one_file_and_what_is_not_there(endpoint, store, cluster, tmp_path):
    some = [f"s3://bucket/songs/{name}?{endpoint}" for name in ("a.wav", "gone.wav")]
    report = classify(some, str(tmp_path), model=str(GOLDEN / "model/small/hf"))
    assert report["rows"] == 2 and report["failed"] == 1
    heard, gone = pq.read_table(tmp_path).to_pylist()
    assert heard["path"] == "s3://bucket/songs/a.wav" and heard["label"]
    assert gone["path"] == "s3://bucket/songs/gone.wav" and gone["error_code"] == "io"


def test_what_cannot_be_reached_is_told(endpoint, store, cluster, capsys):
    with pytest.raises(messymash.ConfigError, match="s3://bucket/a b.wav is no address") as refused:
        listed("s3://somebody:secret@bucket/a b.wav")
    assert "secret" not in str(refused.value)
    assert messymash.ray.main([f"s3://nobodys/songs?{endpoint}", f"s3://nobodys/out?{endpoint}"]) == 1
    assert "nobodys" in capsys.readouterr().err


def test_the_command_of_the_page(endpoint, store, tmp_path):
    """As it stands there; that the endpoint is another, the environment says."""
    [block] = [block for block in book.blocks(ROOT / "docs/cluster.md") if block.where == "cluster" and "messymash.ray" in block.text]
    service = unquote(endpoint.partition("=")[2].partition("&")[0])
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": f"http://{service}",
        "RAY_ADDRESS": "local",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == {"files": 5, "partitions": 1, "skipped": 0, "rows": 5, "failed": 1}


def test_the_same_name_at_two_services_is_refused():
    with pytest.raises(messymash.ConfigError, match="several services"):
        listed([f"s3://bucket/songs?endpoint_override={host}:9000" for host in ("one", "two")])
