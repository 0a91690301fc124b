"""beets plugin: genres by listening, with an Audio Spectrogram Transformer. See docs/python.md."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import messymash
from beets.library import Item
from beets.plugins import BeetsPlugin
from beets.ui import Subcommand, should_write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beets.importer import ImportTask
    from beets.library import Library

#: Files heard at once: enough for all cores, and what an interrupt costs at most.
AT_ONCE = 32


class MessymashPlugin(BeetsPlugin):
    """Writes the genres that a model hears into the field `genres` (before beets 2.6: `genre`)."""

    def __init__(self) -> None:
        super().__init__()
        self.config.add(
            {
                "auto": True,  # hear what is imported
                "force": False,  # hear items that have a genre already, and replace it
                "keep_existing": False,  # with force: add to what is there
                "pretend": False,  # tell, and change nothing
                "quiet": False,  # no word of items that are passed over
                "count": 1,  # how many genres an item gets at most
                "threshold": 0.3,  # the score that a genre must have
                "fallback": None,  # the genre of music that is not clearly of one, where none is there
                "separator": ", ",  # between genres where the field is one string
                "title_case": True,  # Jazz, not jazz
                "model": None,  # a model directory or cached id; none: the bundled one
                "threads": None,  # none: all cores
            }
        )
        self._classifier: messymash.Classifier | None = None
        if self.config["auto"].get(bool):
            self.import_stages = [self.imported]

    def commands(self) -> list[Subcommand]:
        command = Subcommand("messymash", help="set genres by listening")
        for flags, name, text in [
            (("-f", "--force"), "force", "hear items that have a genre already, too"),
            (("-k", "--keep-existing"), "keep_existing", "with --force: add to the genres that are there"),
            (("-p", "--pretend"), "pretend", "show what would be set, and change nothing"),
            (("-q", "--quiet"), "quiet", "say nothing of items that are passed over"),
        ]:
            command.parser.add_option(*flags, dest=name, action="store_true", default=False, help=text)
        command.func = self._command
        return [command]

    def _command(self, lib: Library, opts: Any, args: list[str]) -> None:
        for name in ("force", "keep_existing", "pretend", "quiet"):
            if getattr(opts, name):
                self.config[name] = True
        self.set_genres(lib.items(args), write=should_write())

    def imported(self, session: Any, task: ImportTask) -> None:
        # The importer writes the files itself, after this.
        self.set_genres(task.imported_items(), write=False)

    def set_genres(self, items: Iterable[Item], write: bool) -> None:
        """Hears the items that want it, and stores what they are."""
        wanted = [item for item in items if self._wants(item)]
        for first in range(0, len(wanted), AT_ONCE):
            some = wanted[first : first + AT_ONCE]
            paths = [path_of(item) for item in some]
            answers = self._model()(paths, timeline=True, on_error="return")
            for item, answer in zip(some, answers):
                self._take(item, answer, write)

    def _wants(self, item: Item) -> bool:
        existing = self._existing(item)
        if existing and not self.config["force"].get(bool):
            self._pass_over("{} has a genre already: {}", item, ", ".join(existing))
            return False
        return True

    def _pass_over(self, message: str, *about: Any, **more: Any) -> None:
        if not self.config["quiet"].get(bool):
            self._log.info(message, *about, **more)

    def _take(self, item: Item, answer: Any, write: bool) -> None:
        if isinstance(answer, Exception):
            self._log.error("cannot hear {}: {}", item, answer)
            return
        if answer.get("verdict") == "not_music":
            self._pass_over("{} is no music ({})", item, answer["reason"])
            return
        best = answer["predictions"][0]
        existing = self._existing(item)
        heard = self._names(answer)
        # A guess is no better than what somebody or something has put there.
        if not heard and not existing and self.config["fallback"].get() is not None:
            heard = [self.config["fallback"].as_str()]
        if not heard:
            self._pass_over("{} is not clearly of one genre (best: {label} {score:.2f})", item, **best)
            return
        kept = existing if self.config["keep_existing"].get(bool) else []
        known = {name.lower() for name in kept}
        genres = kept + [name for name in heard if name.lower() not in known]
        self._log.info("{}: {} ({:.0%})", item, ", ".join(genres), best["score"])
        if self.config["pretend"].get(bool):
            return
        if "genres" in Item._fields:
            item["genres"] = genres
        else:
            item["genre"] = self.config["separator"].as_str().join(genres)
        if write:
            item.try_write()
        item.store()

    def _names(self, answer: messymash.Classification) -> list[str]:
        """The genres that an answer is sure of."""
        if answer.get("verdict") == "not_sure":
            return []
        threshold = self.config["threshold"].as_number()
        count = self.config["count"].get(int)
        names = [p["label"] for p in answer["predictions"] if p["score"] >= threshold][:count]
        return [name.title() for name in names] if self.config["title_case"].get(bool) else names

    def _existing(self, item: Item) -> list[str]:
        if "genres" in Item._fields:
            return list(item.get("genres") or [])
        separator = self.config["separator"].as_str()
        return [genre for genre in (item.get("genre") or "").split(separator) if genre]

    def _model(self) -> messymash.Classifier:
        """Loaded when the first item is to be heard."""
        if self._classifier is None:
            model, threads = self.config["model"].get(), self.config["threads"].get()
            if model is None:
                self._classifier = messymash.Classifier(num_threads=threads)
            else:
                self._classifier = messymash.Classifier.from_pretrained(self.config["model"].as_str(), num_threads=threads)
        return self._classifier


def path_of(item: Item) -> str:
    """The item's file; beets keeps paths as bytes."""
    return os.fsdecode(item.path)
