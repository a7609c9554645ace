"""The SQL files beside this one: what the app must not do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Action(NamedTuple):
    """SQL, and the word by which what it touches must be named."""

    sql: str
    word: str


def actions(name: str) -> dict[str, Action]:
    """Kind-object-action → what is done, of a file. Each begins with a comment: ``-- kind-object-action: word``."""
    text = (Path(__file__).parent / f"{name}.sql").read_text()
    found = re.findall(r"^-- ([\w-]+): (.+)\n((?:(?!--).*\n?)+)", text, re.MULTILINE)
    return {each: Action(sql.strip().rstrip(";"), word) for each, word, sql in found}


DEFINITIONS, ROWS, OTHERS = actions("definitions"), actions("rows"), actions("others")
SUPERUSER, SUPERUSER_ROWS = actions("superuser"), actions("superuser_rows")
