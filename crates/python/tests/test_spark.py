"""examples/spark_tag.py on a local Spark of two cores: every file is one row, with the classifier's own answer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from made import ROOT, tone, write_wav

import messymash

PROGRAM = ROOT / "crates/python/examples/spark_tag.py"
# Every process of Python that Spark starts notes the classifiers that it makes.
NOTES = """
import os, messymash
made = messymash.Classifier.__init__
def noted(self, *args, **more):
    made(self, *args, **more)
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{os.getpid()} {self.num_threads}\\n")
messymash.Classifier.__init__ = noted
"""


def test_the_page_shows_the_program():
    assert f"```python\n{PROGRAM.read_text()}```\n" in (ROOT / "docs/cluster.md").read_text()


def test_every_file_is_one_row(tmp_path):
    songs, output, notes = tmp_path / "songs", tmp_path / "out", tmp_path / "notes"
    for number in range(40):
        write_wav(songs / f"{number % 4}/a song, {number:02}.wav", tone(150 + 40 * number, 1 + number % 12))
    for number, sample in enumerate(sorted((ROOT / "samples").glob("*.[of]*"))):
        shutil.copy(sample, songs / f"{number % 4}")
    (songs / "1/BROKEN.MP3").write_bytes(b"this is no sound")
    (songs / "2/headless.flac").write_bytes(b"fLaC")
    (songs / "3/empty.wav").touch()  # which Spark does not list
    (songs / "3/cover.jpg").write_bytes(b"nor is this")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(NOTES)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"),
        "NOTES": str(notes),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    # Small files share a task: more tasks than cores, so that processes are used again.
    submit = [Path(sys.executable).parent / "spark-submit", "--master", "local[2]", "--conf", "spark.ui.enabled=false"]
    submit += ["--conf", "spark.sql.files.maxPartitionBytes=1m", "--conf", "spark.sql.files.openCostInBytes=100k"]
    done = subprocess.run([*submit, PROGRAM, songs, output], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]

    rows = {unquote(row["path"]).removeprefix("file:"): row for row in pq.read_table(output).to_pylist()}
    files = sorted(str(path) for path in songs.rglob("*.*") if path.name not in ("cover.jpg", "empty.wav"))
    assert sorted(rows) == files and len(files) == 46
    answers = messymash.Classifier()(files, timeline=True, on_error="return")
    for file, answer in zip(files, answers):
        row = rows[file]
        if isinstance(answer, Exception):
            assert row["error_code"] == answer.code and row["error"] and row["label"] is None and row["seconds"] is None
        else:
            best = answer["predictions"][0]
            assert row["label"] == best["label"] and row["score"] == pytest.approx(best["score"], abs=1e-5)
            assert (row["verdict"], row["reason"]) == (answer["verdict"], answer.get("reason"))
            assert row["seconds"] == answer["seconds"] and row["error"] is row["error_code"] is None
    assert sum(row["error"] is not None for row in rows.values()) == 2
    # One classifier in each process, of one thread, though there were more tasks.
    made = [line.split() for line in notes.read_text().splitlines()]
    assert 1 <= len({process for process, _ in made}) == len(made) <= 2 and {threads for _, threads in made} == {"1"}
    assert len(list(output.glob("part-*.parquet"))) > 2
