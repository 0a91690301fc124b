"""The pages of the book, and the blocks in them that are run.

A fenced block is run where the line before it is `<!-- run -->`, by check_book.py, or `<!-- run WHERE -->`, by what needs more
than that has: `clients` by check_clients.py, `cluster` by `check_python.sh --cluster`, `ci` by .ci/run, which has the same lines.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WHERE = ("", "ci", "clients", "cluster")
# Where the pages say that a service answers.
SERVICE = "http://127.0.0.1:7860"


class Block(NamedTuple):
    place: str  # page:line
    where: str
    language: str
    text: str


def blocks(page):
    """The marked blocks of a page, in its order."""
    text = page.read_text()
    name = page.relative_to(ROOT)
    found = []
    for mark in re.finditer(r"^<!-- run ?(.*?) ?-->$", text, re.M):
        place = f"{name}:{text.count(chr(10), 0, mark.start()) + 1}"
        fence = re.compile(r"\n```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S).match(text, mark.end())
        assert fence and mark[1] in WHERE, f"{place}: no mark before a block"
        found.append(Block(place, mark[1], fence[1], fence[2]))
    return found


def pages():
    """README.md, and each page to which a row of the table of docs/README.md links, but for those of figures."""
    table, figures = (ROOT / "docs/README.md").read_text().split("What was measured")
    names = dict.fromkeys(re.findall(r"\]\((\w+\.md)\)", table))
    found = [ROOT / "docs" / name for name in names if name not in figures]
    assert len(found) > 8, found
    return [ROOT / "README.md", *found]
