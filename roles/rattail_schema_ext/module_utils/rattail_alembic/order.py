# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The list in ``version_locations``: what was meant by it, what is wrong with it, and how it is put right.

Alembic runs independent bases in the reverse order of the list, so the app comes first and core
last, as in Rattail's manual.
"""

from __future__ import annotations

import os
import posixpath
import re

# What Alembic calls the characters that may stand between two locations (alembic/config.py).
SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}


def key(spec: str) -> str:
    """What makes two locations the same without a look at the disk: ``p:a/b/`` is ``p:a/b``."""
    package, colon, path = spec.partition(":")
    return f"{package}:{posixpath.normpath(path)}" if colon else posixpath.normpath(spec)


def split(text: str, separator: str) -> list[str]:
    """As every Alembic splits that knows the separator: a line break is no space."""
    if separator == "newline":
        return [line.strip() for line in text.split("\n") if line]
    return [piece for piece in text.split(" ") if piece]


def meant(text: str, separator: str, known: set[str]) -> list[str]:
    """The locations that whoever wrote ``text`` meant, also where the separator does not say so."""
    if separator not in SEPARATORS:
        return _words(text)
    pieces = [piece.strip() for line in text.split("\n") for piece in line.split(SEPARATORS[separator])]
    pieces = [piece for piece in pieces if piece]
    if separator == "space":
        pieces = [word.strip(",") for word in text.split()]
    elif SEPARATORS[separator] == ":" and not all(piece.startswith(("/", "%(")) for piece in pieces):
        return _words(text) if len(_words(text)) > 1 else _paired(pieces)
    result = []
    for piece in pieces:
        words = _words(piece)
        result += words if any(key(word) in known for word in words) else [piece]
    return [piece for piece in result if piece]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _paired(pieces: list[str]) -> list[str]:
    """``pkg:path`` locations put together again that were joined, and so split, with colons."""
    result: list[str] = []
    path = r"[^/%]" if len(pieces) == 2 else r"[^/%]*/"
    for piece in pieces:
        package = result[-1] if result else ""
        if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", package) and re.match(path, piece):
            result[-1] = f"{package}:{piece}"
        else:
            result.append(piece)
    return result


def disorder(found: list[str], ahead: list[str], last: str) -> list[str]:
    """What is wrong with the list of locations, in short clauses."""
    reasons = [f"{spec} is missing" for spec in (*ahead, last) if spec not in found]
    reasons += [f"{spec} is there twice" for spec in dict.fromkeys(found) if found.count(spec) > 1]
    there = [spec for spec in ahead if spec in found]
    reasons += [
        f"{before} is not before {after}"
        for before, after in zip(there, there[1:])
        if found.index(before) > found.index(after)
    ]
    if last in found and found[-1] != last:
        reasons.append(f"{last} is not last")
    return reasons


def arranged(found: list[str], ahead: list[str], last: str) -> list[str]:
    """The list put right, moving as little as will do.

    The first of ``ahead`` comes first and ``last`` last. The integrations keep their places if these
    are in order; one that is not moves up to just before its successor, and a missing one comes right
    after its predecessor. That way the runs of two apps over one file come to rest.
    """
    first, middle = ahead[:1], ahead[1:]
    result = [spec for spec in dict.fromkeys(found) if spec not in (*first, last)]
    there = [spec for spec in middle if spec in result]
    for before, after in reversed(list(zip(there, there[1:]))):
        if result.index(before) > result.index(after):
            result.remove(before)
            result.insert(result.index(after), before)
    place = 0
    for spec in middle:
        if spec not in result:
            result.insert(place, spec)
        place = result.index(spec) + 1
    return [*first, *result, last]
