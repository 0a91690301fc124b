#!/usr/bin/env python3
"""Whether one thread hears windows faster together than one by one: python3 tools/bench_batch.py [BENCH]

BENCH is target/release/examples/bench (cargo build --release --example bench). Processor time per window of the bundled model's
forward pass, one thread, runs of all batches in turn; prints a markdown table. Time to start and load is measured by runs of few
windows and taken off.
"""

import os
import statistics
import subprocess
import sys

BATCHES = (1, 2, 4, 8)
FEW, MANY, ROUNDS = 8, 72, 7


def seconds(bench, precision, batch, windows):
    """Processor time of a process that hears so many windows."""
    # One repeat more than asked is not counted by `bench`, but here.
    repeats = windows // batch - 1
    process = subprocess.Popen(
        [bench, "forward", "--config", "bundled", "--precision", precision, "--threads", "1",
         "--batch", str(batch), "--repeats", str(repeats)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{bench} failed")
    return usage.ru_utime + usage.ru_stime


def main():
    bench = sys.argv[1] if len(sys.argv) > 1 else "target/release/examples/bench"
    print("| precision | windows at once | ms of processor per window: median (range) | to one by one |")
    print("|---|---:|---:|---:|")
    for precision in ("f32", "int8"):
        told = {batch: [] for batch in BATCHES}
        for _ in range(ROUNDS):
            for batch in BATCHES:
                few, many = (seconds(bench, precision, batch, windows) for windows in (FEW, MANY))
                told[batch].append(1000 * (many - few) / (MANY - FEW))
        alone = statistics.median(told[1])
        for batch, times in told.items():
            median = statistics.median(times)
            print(f"| {precision} | {batch} | {median:.2f} ({min(times):.2f} to {max(times):.2f}) | {median / alone:.2f} |")


if __name__ == "__main__":
    main()
