"""Runs the marked blocks of the book's pages (see book.py), each page in a folder of its own: check_book.py PROGRAM [PAGE...].

In the folder are samples/ and configs/, song.mp3, messy_mashup/ (made up, in the competition's layout), runs/remix/best and
run/best (the bundled model), Music/; it is HOME, too. Shell blocks run by `bash -euo pipefail`, Python by this interpreter, which
has the wheel, Rust as the example of the library that is the same. A service that a page starts is there until the page ends, on a port of its own.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from book import ROOT, SERVICE, blocks, pages

sys.path.append(str(ROOT / "crates/python/tests"))
from made import GOLDEN, tone, write_data, write_wav  # noqa: E402: the small data set of the package's tests

# Seconds that a block may take, with other work on the machine.
PATIENCE = 300


def write_competition(root):
    """The small data set, with a test set of four mashups."""
    write_data(root)
    (root / "mashups").mkdir()
    test, sample = ["id,filename"], ["id,genre"]
    for number in range(1, 5):
        write_wav(root / f"mashups/song{number:04}.wav", tone(200 * number, 6), 22_050)
        test.append(f"{number:04},mashups/song{number:04}.wav")
        sample.append(f"{number:04},jazz")
    (root / "test.csv").write_text("\n".join(test) + "\n")
    (root / "sample_submission.csv").write_text("\n".join(sample) + "\n")


def furnish(folder):
    """What the pages take to be there."""
    for name in ("samples", "configs"):
        (folder / name).symlink_to(ROOT / name)
    for run in ("run", "runs/remix"):
        shutil.copytree(ROOT / "models/default", folder / run / "best")
    shutil.copy(GOLDEN / "audio/tone.mp3", folder / "song.mp3")
    music = folder / "Music"
    shutil.copytree(ROOT / "samples", music / "album")
    shutil.copytree(GOLDEN / "audio", music / "tones", ignore=shutil.ignore_patterns("*opus*"))  # which cannot be tagged
    write_competition(folder / "messy_mashup")


def environment(program, folder):
    path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"HOME": str(folder), "PATH": path, "MESSYMASH_PORT": "0"}


def example(block):
    """The example of the library that is this block, built as `cargo test --workspace` builds it."""
    [source] = [file for file in (ROOT / "crates/messymash/examples").glob("*.rs") if file.read_text().endswith(block.text)]
    subprocess.run(["cargo", "build", "--quiet", "--workspace", "--example", source.stem], cwd=ROOT, check=True)
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/examples" / source.stem


class Page:
    """Runs the blocks of one page."""

    def __init__(self, program, folder):
        self.folder, self.environment = folder, environment(program, folder)
        self.service, self.address = None, SERVICE

    def run(self, block):
        text = block.text.replace(SERVICE, self.address)
        if text.startswith("messymash serve"):
            line, text = text.split("\n", 1)
            self.serve(line)
        if block.language == "sh":
            self.command(block, ["bash", "-euo", "pipefail", "-c", text])
        elif block.language == "python":
            self.command(block, [sys.executable, "-c", text])
        elif block.language == "rust":
            self.command(block, [example(block)])
        else:
            raise AssertionError(f"{block.place}: who runs {block.language}?")

    def command(self, block, command):
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode:
            sys.exit(f"{block.place}: exit code {done.returncode}\n{block.text}\n{done.stdout}\n{done.stderr}")
        print(f"{block.place}: {time.monotonic() - start:.1f} s", flush=True)

    def serve(self, line):
        log = self.folder / "service.log"
        with log.open("w") as stderr:
            self.service = subprocess.Popen(["bash", "-c", f"exec {line}"], cwd=self.folder, env=self.environment, stderr=stderr)
        deadline = time.monotonic() + PATIENCE
        while not (ready := re.search(r"is ready at (http:\S+)", log.read_text())):
            if self.service.poll() is not None or time.monotonic() > deadline:
                self.service.kill()
                sys.exit(f"{line}: does not start\n{log.read_text()}")
            time.sleep(0.05)
        self.address = ready[1].rstrip("/")
        with urllib.request.urlopen(self.address, timeout=PATIENCE) as answer:
            assert b"<html" in answer.read(), line

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.service:
            self.service.send_signal(signal.SIGTERM)
            ended = self.service.wait(60)
            assert kind or ended == 0, f"the service ended with {ended}"


def main():
    program = Path(sys.argv[1]).resolve()
    wanted = [ROOT / page for page in sys.argv[2:]] or pages()
    lines = [line.strip() for line in (ROOT / ".ci/run").read_text().splitlines()]
    for page in wanted:
        marked = blocks(page)
        if not marked:
            sys.exit(f"{page.relative_to(ROOT)}: no block is marked to be run")
        with tempfile.TemporaryDirectory() as folder, Page(program, Path(folder)) as here:
            furnish(here.folder)
            for block in marked:
                if block.where == "ci":
                    missing = [line for line in block.text.splitlines() if line.split(" #")[0].strip() not in lines]
                    assert not missing, f"{block.place}: not in .ci/run: {missing}"
                elif not block.where:
                    here.run(block)


if __name__ == "__main__":
    main()
