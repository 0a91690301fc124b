"""How messymash.ray scales: the same files with 1 and 2 actors of one CPU each, on a local Ray that has two.

    target/python-venv/bin/python tools/measure_ray.py [--files N] [--seconds S]      (after tools/check_python.sh --cluster)

On a machine that does nothing else. Prints a Markdown table: actors, seconds from the first partition to the last, files a second, and
the share of twice the speed of one. Ray's own start is not in it: a first run over other files warms the workers up.
"""

import argparse
import pathlib
import tempfile
import time
import sys

import numpy as np
import ray

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "crates/python/tests"))
from made import RATE, write_wav  # noqa: E402
from messymash.ray import classify  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description="How messymash.ray scales from one actor to two.")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=240, help="length of each file")
    asked = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number in range(asked.files):
            write_wav(folder / f"songs/{number:04}.wav", 0.1 * rng.standard_normal(asked.seconds * RATE))
        write_wav(folder / "first/0.wav", 0.1 * rng.standard_normal(RATE))
        ray.init(num_cpus=2, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        classify(str(folder / "first"), str(folder / "warm"))
        print(f"{asked.files} files of {asked.seconds} s, ray {ray.__version__}\n")
        print("| actors | seconds | files a second | of ideal |\n|---|---|---|---|")
        alone = None
        for actors in (1, 2):
            begun = time.monotonic()
            report = classify(str(folder / "songs"), str(folder / f"out{actors}"), actors=actors, partition_size=10)
            took = time.monotonic() - begun
            assert report["rows"] == asked.files and report["failed"] == 0, report
            alone = alone or took
            print(f"| {actors} | {took:.1f} | {asked.files / took:.2f} | {alone / took / actors:.2f} |", flush=True)


if __name__ == "__main__":
    main()
