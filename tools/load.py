"""Load on the service, and on the same model behind FastAPI and transformers: requests a second, latencies, refusals, memory.

load.py PROGRAM [--seconds 10] [--rounds 3] [--clients 1 8 64 200] [--soak 10000] [--sound FILE] [--no-peer]

Prints a markdown table: medians of the rounds, in each of which both servers take their turn. Both must give the same
scores, and hear the first window of the same file (`windows=first`, which is what transformers hears), one
server at a time, on loopback. A client sends its next request as soon as it has its answer; one that is refused (429) waits as
long as Retry-After says. Run it with the Python that has the packages of requirements-reference.txt (make load), on a machine
that does nothing else.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "default"
PATIENCE = 180.0  # seconds for a server to start, and for one answer


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One server as a process; ended with the block."""

    def __init__(self, command, port):
        self.command, self.port = command, port

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while not asyncio.run(self.is_ready()):
            if self.process.poll() is not None or time.monotonic() - began > PATIENCE:
                self.__exit__()
                sys.exit(f"did not start: {' '.join(map(str, self.command))}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    async def is_ready(self):
        try:
            connection = await Connection.open(self.port)
            status, *_ = await connection.ask(b"GET /readyz HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n")
            connection.close()
            return status == 200
        except OSError:
            return False

    def memory(self):
        """MiB of memory in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port):
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request):
        """Status, headers, body, and whether the connection can be used again; OSError if it ends first."""
        try:
            self.writer.write(request)
            await self.writer.drain()
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the connection ended") from error
        return int(head.split(" ")[1]), headers, body, headers.get("connection") != "close"

    def close(self):
        self.writer.close()


class Tally:
    def __init__(self):
        self.latencies, self.refused, self.failed, self.peak = [], 0, 0, 0.0


async def client(port, request, tally, goes_on):
    connection = None
    while goes_on():
        began = time.monotonic()
        try:
            connection = connection or await Connection.open(port)
            status, headers, _, usable = await asyncio.wait_for(connection.ask(request), PATIENCE)
        except (OSError, asyncio.TimeoutError):
            tally.failed += 1
            connection = None
            await asyncio.sleep(0.1)
            continue
        if not usable:
            connection.close()
            connection = None
        if status == 200:
            tally.latencies.append(time.monotonic() - began)
        elif status == 429:
            tally.refused += 1
            await asyncio.sleep(float(headers.get("retry-after", 1)))
        else:
            tally.failed += 1
    if connection:
        connection.close()


async def load(server, request, clients, goes_on):
    """Asks with `clients` at once while `goes_on(tally)`; the tally and the seconds it took."""
    tally = Tally()
    began = time.monotonic()

    async def watch():
        while True:
            tally.peak = max(tally.peak, server.memory())
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client(server.port, request, tally, lambda: goes_on(tally)) for _ in range(clients)))
    watching.cancel()
    return tally, time.monotonic() - began


async def answer(port, request):
    """The scores by label that a server gives."""
    connection = await Connection.open(port)
    status, _, body, _ = await connection.ask(request)
    connection.close()
    if status != 200:
        sys.exit(f"status {status}: {body[:200]}")
    return {one["label"]: one["score"] for one in json.loads(body)}


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))] if sorted_values else float("nan")


def figures(tally, seconds):
    """Requests a second, three latencies in ms, refused, failed, memory in MiB."""
    values = sorted(tally.latencies)
    latencies = [1000 * percentile(values, share) for share in (0.50, 0.95, 0.99)]
    return [len(values) / seconds, *latencies, tally.refused, tally.failed, tally.peak]


def measure(server, request, options):
    """The figures of each number of clients."""
    asyncio.run(load(server, request, 2, lambda tally: len(tally.latencies) + tally.failed < 8))  # warm
    for clients in options.clients:
        until = time.monotonic() + options.seconds
        yield clients, figures(*asyncio.run(load(server, request, clients, lambda _: time.monotonic() < until)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 200])
    parser.add_argument("--soak", type=int, default=10_000, help="requests of the test of flatness; 0 leaves it out")
    parser.add_argument("--sound", type=Path, default=ROOT / "samples" / "rock.flac")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    body = options.sound.read_bytes()
    head = f"POST /predict?windows=first HTTP/1.1\r\nHost: load\r\nContent-Type: audio/flac\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body

    ours = [options.program, "serve", "--model", MODEL, "--port"]
    servers = {"messymash": ours}
    if not options.no_peer:
        servers["FastAPI + transformers"] = [sys.executable, ROOT / "tools" / "load_peer.py", MODEL]
    measured, answers = {}, []
    for _ in range(options.rounds):
        for name, command in servers.items():
            port = free_port()
            with Server([*command, str(port)], port) as server:
                answers.append(asyncio.run(answer(port, request)))
                difference = max(abs(answers[0][label] - score) for label, score in answers[-1].items())
                if difference > 1e-3:
                    sys.exit(f"{name} answers something else: {answers[-1]}, not {answers[0]}")
                for clients, found in measure(server, request, options):
                    measured.setdefault((name, clients), []).append(found)
    print("| server | clients | requests/s | p50 ms | p95 ms | p99 ms | refused (429) | failed | memory MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for (name, clients), rounds in measured.items():
        rate, *others = (statistics.median(column) for column in zip(*rounds))
        print(f"| {name} | {clients} | {rate:.1f} | {' | '.join(f'{x:.0f}' for x in others)} |", flush=True)
    if options.soak:
        port = free_port()
        with Server([*ours, str(port)], port) as server:
            # A tenth first: what is kept for later is kept by then.
            for part in (options.soak // 10, options.soak):
                asyncio.run(load(server, request, 8, lambda tally: len(tally.latencies) < part))
                time.sleep(1)
                memory, descriptors = server.memory(), server.descriptors()
                print(f"\nafter {part} more requests of 8 clients: {memory:.1f} MiB, {descriptors} descriptors", flush=True)


main()
