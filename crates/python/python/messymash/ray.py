"""Many files on many machines: `messymash` on Ray Data. `pip install 'messymash[ray]'`; see docs/cluster.md.

    python -m messymash.ray s3://bucket/songs s3://bucket/predictions
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq
import ray

from .classifier import Classifier
from .errors import ConfigError, Error, TooLongError

#: What is taken for sound, where a folder is given.
EXTENSIONS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".mp4", ".aif", ".aiff", ".caf")

#: Files that an actor reads at once.
READERS = 4

#: Larger files are not read: an actor holds whole ones in memory.
MAX_BYTES = 1_000_000_000

#: How often an actor that died is started again, and a partition that killed its actor is tried again.
RETRIES = 3

#: One row for each file. Either `label`, `score` and `scores` or `error_code` and `error` are null. `verdict` is null where the
#: model has no rules for it, `reason` where the verdict is not `not_music`.
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("scores", pa.map_(pa.string(), pa.float32())),
        ("seconds", pa.float64()),
        ("warnings", pa.list_(pa.string())),
        ("error_code", pa.string()),
        ("error", pa.string()),
    ]
)


class File(NamedTuple):
    """A file to be heard."""

    name: str  #: what its row calls it: address and path, without what is secret
    address: str  #: the input that it is of, which tells the file system
    path: str  #: where it is in that


class Hear:
    """What an actor does: one model, loaded once; partitions of files to files of rows."""

    def __init__(self, model: str | None, hearing: dict[str, Any], output: str, max_bytes: int = MAX_BYTES) -> None:
        # Ray sets OMP_NUM_THREADS to the CPUs that this actor was given, and the classifier keeps to it.
        self.classifier = Classifier() if model is None else Classifier.from_pretrained(model)
        self.hearing = hearing
        self.output = output
        self.max_bytes = max_bytes

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Hears the partitions of a batch, and writes each as one file, whole or not at all."""
        written, rows, failed = [], [], []
        for name, files in zip(batch["partition"], batch["files"]):
            table = self.hear([File(*file) for file in json.loads(files)])
            write_whole(table, self.output, str(name))
            written.append(str(name))
            rows.append(table.num_rows)
            failed.append(table.num_rows - table["error"].null_count)
        return {"partition": written, "rows": rows, "failed": failed}

    def hear(self, files: Sequence[File]) -> pa.Table:
        """A row for each file."""
        # The next files are read while these are heard; memory holds twice that many, however large a partition is.
        together = 8 * self.classifier.num_threads
        chunks = [files[first : first + together] for first in range(0, len(files), together)]
        rows: list[dict[str, Any]] = []
        with ThreadPoolExecutor(READERS) as readers:
            ahead = [readers.submit(read, file, self.max_bytes) for file in chunks[0]]
            for number, chunk in enumerate(chunks):
                here = [future.result() for future in ahead]
                following = chunks[number + 1] if number + 1 < len(chunks) else []
                ahead = [readers.submit(read, file, self.max_bytes) for file in following]
                sounds = [sound for sound in here if isinstance(sound, bytes)]
                heard = iter(self.classifier(sounds, timeline=True, on_error="return", **self.hearing))
                rows += [row(file.name, next(heard) if isinstance(s, bytes) else s) for file, s in zip(chunk, here)]
        return pa.Table.from_pylist(rows, SCHEMA)


def row(path: str, answer: Any) -> dict[str, Any]:
    """The row of a file."""
    if isinstance(answer, Exception):
        return {"path": path, "error_code": answer.code if isinstance(answer, Error) else "io", "error": str(answer)}
    predictions = answer["predictions"]
    return {
        "path": path,
        "label": predictions[0]["label"],
        "score": predictions[0]["score"],
        "verdict": answer.get("verdict"),
        "reason": answer.get("reason"),
        "scores": [(p["label"], p["score"]) for p in predictions],
        "seconds": answer["seconds"],
        "warnings": [warning["code"] for warning in answer["warnings"]],
    }


def bare(address: str) -> str:
    """An address without what is after its path, and without the keys or password that it may hold; a path as it is."""
    if "://" not in address:
        return address.rstrip("/")
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}".rstrip("/")


def service(address: str) -> str:
    """Whose store an address means, where it says so: the same bucket and path at another service are other files."""
    return ",".join(parse_qs(urlsplit(address).query).get("endpoint_override", [])) if "://" in address else ""


@lru_cache(maxsize=64)
def opened(address: str) -> tuple[fs.FileSystem, str]:
    """Once for each address: an object store's client has connections that are used again."""
    try:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(address)
    except ValueError as error:
        # Arrow's words may repeat keys; what it stumbles over is mostly a letter.
        raise ConfigError(f"{bare(address)} is no address that pyarrow can read; spaces are written %20, ? %3F, # %23, % %25") from None
    return found


def filesystem(address: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or address (`s3://`, `gs://`, `hdfs://`, ...), and the path in it."""
    return opened(address) if "://" in address else (fs.LocalFileSystem(), os.path.abspath(address))


def read(file: File, max_bytes: int) -> bytes | Exception:
    """A file's bytes, or why there are none."""
    try:
        system, _ = filesystem(file.address)
        size = system.get_file_info(file.path).size
        if size is not None and size > max_bytes:
            return TooLongError(f"{file.name} has {size:,} bytes; at most {max_bytes:,} are read (max_bytes)")
        # As it lies there: arrow would unpack what is called .gz.
        with system.open_input_stream(file.path, compression=None) as stream:
            data: bytes = stream.read()
        return data
    except (OSError, ValueError) as error:  # what arrow's file systems raise
        return error


def write_whole(table: pa.Table, output: str, name: str) -> None:
    """`output/name.parquet`, which is there whole or not at all. Who writes it twice writes the same."""
    system, folder = filesystem(output)
    # One who is taken for dead may still be writing: everybody has a file of their own.
    final, part = f"{folder}/{name}.parquet", f"{folder}/.{name}.{uuid.uuid4().hex}.part"
    if isinstance(system, fs.LocalFileSystem):
        try:
            pq.write_table(table, part, filesystem=system)
            system.move(part, final)
        except BaseException:
            with contextlib.suppress(OSError):
                system.delete_file(part)
            raise
    else:
        # Object stores show a file when its stream is closed, even one that is closed because writing failed: it is made before.
        whole = pa.BufferOutputStream()
        pq.write_table(table, whole)
        with system.open_output_stream(final) as stream:
            stream.write(whole.getvalue())


def listed(inputs: str | Sequence[str]) -> list[File]:
    """Sound files at and below folders (files are taken as they are), by name, each once."""
    found: dict[str, File] = {}
    addresses = [inputs] if isinstance(inputs, str) else inputs
    if len({service(address) for address in addresses if "://" in address}) > 1:
        raise ConfigError("the inputs are of several services, whose files may have the same names: give each a run and an output")
    for address in addresses:
        system, path = filesystem(address)
        name = bare(address)
        if system.get_file_info(path).type != fs.FileType.Directory:
            found[name] = File(name, address, path)
            continue
        for info in system.get_file_info(fs.FileSelector(path, recursive=True)):
            hidden = info.base_name.startswith(".")
            if info.type == fs.FileType.File and info.path.lower().endswith(EXTENSIONS) and not hidden:
                below = f"{name}/{info.path[len(path.rstrip('/')) :].lstrip('/')}"
                found[below] = File(below, address, info.path)
    return [found[name] for name in sorted(found)]


def partitions(files: Sequence[File], size: int, key: str) -> Iterator[tuple[str, Sequence[File]]]:
    """Pieces of `size` files, and a name for each that follows from their names and from `key`: how they are heard."""
    for number, first in enumerate(range(0, len(files), size)):
        some = files[first : first + size]
        digest = hashlib.sha256("\n".join([key, *(file.name for file in some)]).encode("utf-8", "surrogateescape")).hexdigest()
        yield f"part-{number:07}-{digest[:16]}", some


def rules(model: str | None) -> str:
    """The text of a model directory's `verdict.json`, which is no part of its fingerprint; the bundled model has the package's."""
    file = None if model is None else os.path.join(model, "verdict.json")
    if file is None or not os.path.isfile(file):
        return ""
    with open(file, encoding="utf-8") as text:
        return text.read()


def classify(
    inputs: str | Sequence[str],
    output: str,
    *,
    model: str | None = None,
    actors: int | tuple[int, int] = 1,
    cpus_per_actor: float = 1,
    partition_size: int = 256,
    hearing: dict[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, int]:
    """Hears every sound file of `inputs`, and writes Parquet files of one row for each (`SCHEMA`) to the folder `output`.

    `inputs`: folders or files, paths or addresses that pyarrow knows (`s3://`, `gs://`, `hdfs://`); `actors`: how many models are
    at work, or (least, most); each has the threads of `cpus_per_actor`. `hearing`: arguments of `Classifier.__call__`, such as
    `{"windows": "first", "max_seconds": 3600}`. `model` must be where every node finds it. `max_bytes`: files are held in memory,
    16 for each thread of an actor; a larger one is not read.

    A file that cannot be heard is a row with its error. Each partition of `partition_size` files is one Parquet file, written
    whole and named after its paths, the model, `hearing`, `max_bytes` and the package's version: what is there already is not
    done again, so a run that was stopped goes on, and a node that dies costs the partitions it was at work on.

    Returns `{"files", "partitions", "skipped", "rows", "failed"}`: skipped are partitions done before, the last two are of
    this run. Raises `ConfigError` where there is no file, and Ray's error where a partition killed its actor four times.
    """
    if partition_size < 1:
        raise ConfigError(f"partition_size is {partition_size}; it must be 1 or more")
    if max_bytes < 1:
        raise ConfigError(f"max_bytes is {max_bytes}; it must be 1 or more")
    hearing = hearing or {}
    loaded = Classifier(num_threads=1) if model is None else Classifier.from_pretrained(model, num_threads=1)
    addresses = [inputs] if isinstance(inputs, str) else list(inputs)
    services = sorted({service(address) for address in addresses})
    how = [version("messymash"), SCHEMA.names, loaded.fingerprint(), rules(model), hearing, max_bytes, services]
    key = json.dumps(how, sort_keys=True)
    del loaded
    files = listed(inputs)
    if not files:
        raise ConfigError(f"there are no sound files in {', '.join(map(bare, addresses))}; they are known by their extension ({', '.join(EXTENSIONS)})")
    output = output if "://" in output else os.path.abspath(output)  # actors are elsewhere
    system, folder = filesystem(output)
    system.create_dir(folder, recursive=True)
    done = {info.base_name for info in system.get_file_info(fs.FileSelector(folder))}
    everything = list(partitions(files, partition_size, key))
    wanted = [{"partition": name, "files": json.dumps(some)} for name, some in everything if f"{name}.parquet" not in done]
    report = {"files": len(files), "partitions": len(everything), "skipped": len(everything) - len(wanted)}
    if not wanted:
        return report | {"rows": 0, "failed": 0}
    least, most = (actors, actors) if isinstance(actors, int) else actors
    heard = ray.data.from_items(wanted, override_num_blocks=len(wanted)).map_batches(
        Hear,
        fn_constructor_args=(model, hearing, output, max_bytes),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=cpus_per_actor,
        # Not for ever: a file may be what kills them.
        max_restarts=RETRIES,
        max_task_retries=RETRIES,
    )
    told = heard.take_all()
    return report | {"rows": sum(t["rows"] for t in told), "failed": sum(t["failed"] for t in told)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: `python -m messymash.ray`."""
    parser = argparse.ArgumentParser(prog="python -m messymash.ray", description="Hears many files on a Ray cluster.")
    parser.add_argument("inputs", nargs="+", help="folders or files: paths, s3://, gs://, hdfs://")
    parser.add_argument("output", help="the folder for Parquet files")
    parser.add_argument("--model", help="a model directory that every node finds (default: the bundled model)")
    parser.add_argument("--actors", type=int, default=1, help="models at work at once (default: 1)")
    parser.add_argument("--cpus-per-actor", type=float, default=1, help="threads of each (default: 1)")
    parser.add_argument("--partition-size", type=int, default=256, help="files in a Parquet file (default: 256)")
    parser.add_argument("--windows", choices=["all", "first"], default="all", help="the whole file, or its first ten seconds")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES, help="larger files are not read (default: 1 GB)")
    parser.add_argument("--address", help="the cluster (default: RAY_ADDRESS, else this machine alone)")
    asked = parser.parse_args(arguments)
    try:
        ray.init(address=asked.address, ignore_reinit_error=True)
        report = classify(
            asked.inputs,
            asked.output,
            model=asked.model,
            actors=asked.actors,
            cpus_per_actor=asked.cpus_per_actor,
            partition_size=asked.partition_size,
            hearing={"windows": asked.windows},
            max_bytes=asked.max_bytes,
        )
    except (Error, OSError, ray.exceptions.RayError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    # The module that actors import, too; what is of `__main__` would have to be sent to them.
    from messymash.ray import main as command

    sys.exit(command())
