"""The plugin in beets itself: import, sub-command, what it writes into files, and what it leaves alone."""

import os
import subprocess
import sys

import mediafile
import pytest
from made import ROOT, judging_model

SAMPLE = ROOT / "samples/mashup.flac"  # disco, 0.67; reggae 0.14

CONFIG = """directory: {root}/music
library: {root}/library.db
plugins: [messymash]
import: {{copy: yes, write: yes, autotag: no, quiet: yes}}
messymash: {{threads: 1, {settings}}}
"""


class Beets:
    def __init__(self, root):
        self.root = root
        self.song = root / "in/album/song.flac"
        self.song.parent.mkdir(parents=True)
        self.song.write_bytes(SAMPLE.read_bytes())
        self.tag(title="Song", artist="Somebody", album="Album")

    def tag(self, **fields):
        media = mediafile.MediaFile(self.song)
        media.update(fields)
        media.save()

    def __call__(self, *arguments, settings="auto: yes"):
        config = self.root / "config.yaml"
        config.write_text(CONFIG.format(root=self.root, settings=settings))
        environment = os.environ | {"BEETSDIR": str(self.root), "HOME": str(self.root)}
        command = [sys.executable, "-m", "beets", "-c", str(config), *arguments]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        return run.stdout + run.stderr

    def bring(self, settings="auto: yes"):
        return self("import", "-A", str(self.root / "in"), settings=settings)

    def genres(self):
        """As beets has them, and as the file has them."""
        listed = self("list", "-f", "$genres", settings="auto: no").strip()
        (path,) = (self.root / "music").rglob("*.flac")
        return listed, mediafile.MediaFile(path).genres


@pytest.fixture
def beets(tmp_path):
    return Beets(tmp_path)


def test_what_is_imported_gets_its_genre(beets):
    beets.bring()
    # What is imported as it is, beets does not write to; it does when it is asked to.
    assert beets.genres() == ("Disco", None)
    beets("write", settings="auto: no")
    assert beets.genres() == ("Disco", ["Disco"])


def test_the_command_sets_what_has_none_and_leaves_the_rest(beets):
    beets.bring("auto: no")
    assert beets.genres() == ("", None)
    assert "Disco" in beets("messymash", "--pretend", settings="auto: no")
    assert beets.genres() == ("", None)
    beets("messymash", settings="auto: no, title_case: no")
    assert beets.genres() == ("disco", ["disco"])
    # What has a genre is passed over, unless forced.
    said = beets("messymash", settings="auto: no, count: 2, threshold: 0.1")
    assert "already" in said and beets.genres() == ("disco", ["disco"])
    assert "already" not in beets("messymash", "-q", settings="auto: no")
    beets("messymash", "-f", settings="auto: no, count: 2, threshold: 0.1")
    assert beets.genres() == ("Disco; Reggae", ["Disco", "Reggae"])


def test_existing_genres_are_kept_on_request(beets):
    beets.tag(genres=["Soul", "DISCO"])
    beets.bring()
    assert beets.genres()[1] == ["Soul", "DISCO"]
    beets("messymash", "-f", "-k", settings="auto: no, count: 2, threshold: 0.1")
    assert beets.genres()[1] == ["Soul", "DISCO", "Reggae"]


def test_what_is_not_clear_gets_the_fallback_or_nothing(beets):
    beets.bring("auto: yes, threshold: 0.99")
    assert beets.genres() == ("", None)
    beets("messymash", settings="auto: no, threshold: 0.99, fallback: Unknown")
    assert beets.genres() == ("Unknown", ["Unknown"])


def test_an_unsure_answer_replaces_nothing(beets, tmp_path):
    unsure = judging_model(tmp_path / "unsure", not_sure_below=0.99)
    beets.tag(genres=["Soul"])
    beets.bring("auto: no")
    for settings in ("threshold: 0.99, keep_existing: yes", f"model: {unsure}, keep_existing: no"):
        said = beets("messymash", settings=f"auto: no, force: yes, fallback: Unknown, {settings}")
        assert "not clearly of one genre (best: disco 0.67)" in said
        assert beets.genres() == ("Soul", ["Soul"])


def test_what_is_no_music_gets_no_genre(beets, tmp_path):
    speech = judging_model(tmp_path / "speech", not_sure_below=0, music=0, speech=9)
    beets.bring("auto: no")
    said = beets("messymash", settings=f"auto: no, model: {speech}, fallback: Unknown")
    assert "is no music (speech)" in said and beets.genres() == ("", None)
    sure = judging_model(tmp_path / "sure")
    beets("messymash", settings=f"auto: no, model: {sure}")
    assert beets.genres() == ("Disco", ["Disco"])


def test_a_file_that_cannot_be_heard_stops_nothing(beets):
    beets.bring("auto: no")
    (path,) = (beets.root / "music").rglob("*.flac")
    kept = path.read_bytes()
    path.write_bytes(b"no sound")
    assert "cannot hear" in beets("messymash", settings="auto: no")
    path.write_bytes(kept)
    assert beets.genres() == ("", None)
