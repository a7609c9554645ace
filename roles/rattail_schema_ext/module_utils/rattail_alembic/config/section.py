# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``[alembic]`` in a config file: what it says, what it should say, and how to write that.

Values are raw throughout, as they stand in the file: ``%(here)s`` is not filled in, and a literal
percent sign is ``%%``.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..cores import Core
from ..problem import Refused
from . import ini

NAME = "alembic"

# The Alembic releases that brought these: its changelog, and alembic/script/base.py of each release.
_HAS_NEWLINE = (1, 13, 3)
_HAS_PATH_SEPARATOR = (1, 16)
# What Alembic calls the characters that may stand between two locations (alembic/config.py).
SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}

# The options for the separator. An Alembic that has the first goes by it, and by the second where it is missing.
_SEPARATOR_NAMES = ("path_separator", "version_path_separator")
# What Alembic looks up in its section, and so also finds in [DEFAULT].
_MANAGED = ("script_location", "version_locations", *_SEPARATOR_NAMES)
_READ_BY_ALEMBIC = (
    *_MANAGED,
    *("prepend_sys_path", "recursive_version_locations", "sourceless", "file_template", "timezone"),
    *("truncate_slug_length", "output_encoding", "revision_environment"),
)


class Section(NamedTuple):
    """``[alembic]`` as it stands in a file: its own options, raw, by lower-cased name."""

    present: bool
    options: dict[str, str]
    warnings: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """``[alembic]`` as it should be.

    ``separator_name`` is what the Alembic in use calls its separator. ``other_separator`` is the value of
    the option of the other name, and empty where the file does not have that. ``reasons`` say why the
    file has to change; there are none where it is right.
    """

    script_location: str
    version_locations: tuple[str, ...]
    separator_name: str
    separator: str
    other_separator: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Whether the file has to change."""
        return bool(self.reasons)

    def options(self) -> dict[str, str]:
        """The options as the section holds them, for an Alembic that reads it before it is written."""
        options = {
            "script_location": self.script_location,
            "version_locations": SEPARATORS[self.separator].join(self.version_locations),
            self.separator_name: self.separator,
        }
        if self.other_separator:
            options[_other(self.separator_name)] = self.other_separator
        return options

    def for_template(self) -> dict[str, Any]:
        """What ``templates/alembic.conf.j2`` writes."""
        shown = {**self._asdict(), "version_locations": list(self.version_locations)}
        del shown["reasons"], shown["warnings"]
        return {**shown, "other_separator_name": _other(self.separator_name)}


def read(data: bytes, name: str) -> Section:
    """What ``[alembic]`` says in the text ``data`` of the file ``name``.

    :raises Refused: naming the line, where Alembic would refuse the file or miss the section.
    """
    text = ini.decode(data, name)
    parser = ini.parse(text, name)
    lines, inside = _lines(text)
    if not inside:
        _refuse_lookalikes(lines, name)
    options = {line.option: parser.get(NAME, line.option) for line in inside if line.kind == "option"}
    leaking = [key for key in _READ_BY_ALEMBIC if key in parser.defaults() and key not in options]
    return Section(
        present=bool(inside),
        options=options,
        warnings=tuple(f"{name}: Alembic takes {key} from [DEFAULT]; set it in [{NAME}] instead." for key in leaking),
    )


def _lines(text: str) -> tuple[list[ini.Line], list[ini.Line]]:
    """All lines of a file, and those of the section."""
    lines = ini.scan(text)
    return lines, [lines[index] for index in ini.body(lines, NAME)]


def _refuse_lookalikes(lines: Iterable[ini.Line], name: str) -> None:
    for number, line in enumerate(lines, start=1):
        header = re.match(r"\[\s*alembic\s*\]", line.text.strip(), re.IGNORECASE)
        if header and line.kind in ("header", "value"):
            why = ", because the line is indented" if line.kind == "value" else ""
            raise Refused(
                "config_header",
                f"{name}, line {number}: Alembic does not take {header[0]!r} for its section{why}.",
                f"Write it as [{NAME}], at the start of the line.",
            )


def replace(data: bytes, rendered: str) -> bytes:
    """``data`` with the options of ``rendered``, the text of a whole ``[alembic]`` section.

    An option with an equal value stays byte for byte, one with another has its value replaced, a missing
    one is added at the end of the section, and a missing section at the end of the file. Every other
    byte stays. A second application changes nothing.

    :raises Refused: where ``data`` cannot be read, or ``rendered`` is more than one section.
    """
    now = read(data, "the config file").options
    parser = ini.parse(rendered, "the section")
    if parser.sections() != [NAME] or parser.defaults():
        raise Refused(
            "section_invalid",
            f"The text to write is not [{NAME}] alone.",
            f"Give the text of one [{NAME}] section.",
        )
    options = dict(parser.items(NAME))
    separator = next((options[name] for name in _SEPARATOR_NAMES if name in options), "space")
    changed = {name: new for name, new in options.items() if not _same(name, now.get(name), new, separator)}
    return ini.merge(data.decode("utf-8"), NAME, changed, rendered).encode("utf-8")


def _same(name: str, now: str | None, new: str, separator: str) -> bool:
    if name != "version_locations" or now is None:
        return now == new
    return [key(spec) for spec in split(now, separator)] == [key(spec) for spec in split(new, separator)]


def extract(data: bytes) -> str:
    """The text of ``[alembic]`` alone, for a diff; empty where there is none.

    In lines other than the role's own options, whatever follows ``://`` is left out: it may be a
    database URL.
    """
    _, inside = _lines(ini.decode(data, "the config file"))
    ours = (line.option in _MANAGED and line.kind != "comment" for line in inside)
    return "".join(
        (line.text if shown else re.sub(r"://.+", "://***", line.text)) + "\n" for line, shown in zip(inside, ours)
    )


def wanted(
    section: Section,
    *,
    core: Core,
    app_location: str,
    integration_locations: Sequence[str],
    script_location: str | None,
    alembic_version: tuple[int, ...],
) -> Wanted:
    """What ``section`` should say, so that the app's, its integrations' and core's revisions are found.

    What is missing is added, and nothing is removed. An order that is right stays: two apps that share
    a file must not undo each other's.

    Locations are given as Alembic sees them (``pkg:path`` or a path).

    :raises Refused: where the list of locations cannot be taken apart, or a location has a space in it and the
        Alembic in use knows no ``newline``.
    """
    options = section.options
    ahead = list(dict.fromkeys(_escaped(spec) for spec in (app_location, *integration_locations)))
    last = core.version_location
    known = {key(spec): spec for spec in (*ahead, last)}
    ahead = [spec for spec in ahead if key(spec) != key(last)]
    names = _SEPARATOR_NAMES if alembic_version >= _HAS_PATH_SEPARATOR else _SEPARATOR_NAMES[1:]
    name, text = names[0], options.get("version_locations", "")
    used = next((each for each in names if each in options), "")
    try:
        written = locations_in(text, options.get(used, ""))
    except ValueError:
        raise Refused(
            "locations_unclear",
            f"version_locations in [{NAME}] cannot be taken apart into locations: it is {text!r}, "
            f"with {f'{used} = {options[used]}' if used else 'no path_separator'}.",
            f"Write these two lines in [{NAME}]: version_locations = {' '.join([*ahead, last])} (and, before the last, "
            f"any other location that you need, with spaces between) and {name} = space.",
        ) from None
    found = [known.get(key(spec), spec) for spec in written]
    reasons = disorder(found, ahead, last)
    locations = arranged(found, ahead, last) if reasons else found
    separator = _separator_for(options, name, locations, written, alembic_version)
    script = _escaped(script_location) if script_location else options.get("script_location") or core.script_location
    if "\n" in script.strip():
        raise Refused(
            "script_location_lines",
            f"script_location in [{NAME}] has more than one line.",
            "Keep the one with Alembic's env.py.",
        )
    result = Wanted(
        script_location=script.strip(),
        version_locations=tuple(locations),
        separator_name=name,
        separator=separator,
        other_separator=separator if _other(name) in options else "",
        reasons=(),
        warnings=tuple(_warnings(options, locations, known, alembic_version)),
    )
    if section.present:
        reasons += _differences(options, result, bool(reasons))
    else:
        reasons = [f"there is no [{NAME}] section"]
    return result._replace(reasons=tuple(reasons))


def _separator_for(
    options: Mapping[str, str], name: str, locations: list[str], written: list[str], alembic_version: tuple[int, ...]
) -> str:
    """What separates the locations: ``newline`` where it has to or already does, else ``space``."""
    spaced = [spec for spec in locations if re.search(r"\s", spec)]
    if spaced and alembic_version < _HAS_NEWLINE:
        raise Refused(
            "location_space",
            f"The version location {spaced[0]!r} has a space in it, which cannot be told from a separator.",
            "Move it to a path without spaces, or use Alembic 1.13.3 or newer, which can have each on its own line.",
        )
    if spaced:
        return "newline"
    now = [options.get(each) for each in (name, _other(name))]
    chosen = next((value for value in now if value in ("space", "newline")), "space")
    by_line = split(options.get("version_locations", ""), "newline") == written
    return chosen if by_line and alembic_version >= _HAS_NEWLINE else "space"


def _differences(options: Mapping[str, str], result: Wanted, rearranged: bool) -> list[str]:
    """Why the section has to change, apart from which locations it has and in which order."""
    reasons = []
    for name, new in result.options().items():
        now = options.get(name)
        if _same(name, now, new, result.separator):
            continue
        if name == "version_locations":
            if not rearranged:
                reasons.append(f"{name} is not written with the separator {result.separator!r}")
        elif now is None:
            reasons.append(f"{name} is not set")
        elif name != "script_location" and SEPARATORS.get(now) == ":":
            reasons.append(f"{name} {now!r} splits pkg:path at its colon")
        else:
            reasons.append(f"{name} is {now!r}, not {new!r}")
    return reasons


def _warnings(
    options: Mapping[str, str], locations: list[str], known: Mapping[str, str], alembic_version: tuple[int, ...]
) -> list[str]:
    warnings = [
        f"[{NAME}] keeps the version location {spec}, which belongs neither to the app, "
        "nor to its integrations, nor to core."
        for spec in dict.fromkeys(locations)
        if key(spec) not in known
    ]
    paths = options.get("prepend_sys_path", "")
    if alembic_version >= _HAS_PATH_SEPARATOR and re.search(r"[,:;]", paths):
        warnings.append(
            f"Alembic splits prepend_sys_path ({paths}) by path_separator too: separate its entries with that."
        )
    return warnings


def _other(separator_name: str) -> str:
    return next(name for name in _SEPARATOR_NAMES if name != separator_name)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def key(spec: str) -> str:
    """What makes two locations the same without a look at the disk: ``p:a/b/`` is ``p:a/b``."""
    package, colon, path = spec.partition(":")
    return f"{package}:{posixpath.normpath(path)}" if colon else posixpath.normpath(spec)


def split(text: str, separator: str) -> list[str]:
    """As every Alembic splits that knows the separator: a line break is no space."""
    if separator == "newline":
        return [line.strip() for line in text.split("\n") if line]
    return list(filter(None, text.split(" ")))


def locations_in(text: str, separator: str) -> list[str]:
    """The locations in ``text``: split by the separator or, where that does not give locations, by spaces.

    :param separator: as it stands in the section; for one that Alembic does not know, and for none, spaces and
        commas separate.
    :raises ValueError: where neither gives locations.
    """
    glue = SEPARATORS.get(separator)
    if glue:
        pieces = [piece.strip() for piece in text.split(glue) if piece.strip()]
        if not any(_NOT_ONE.search(piece) or (glue == ":" and not re.match(_ROOT, piece)) for piece in pieces):
            return pieces
    words = text.split() if glue else re.split(r"[\s,]+", text.strip(", \n"))
    if any(_NOT_ONE.search(word) or (glue and not _BEGINNING.match(word)) for word in words):
        raise ValueError(text)
    return list(filter(None, words))


# An absolute path, a package before its colon; how a location must begin, and what no location has: a second one,
# or the begin of a comment.
_ROOT = r"(?:/|%\()"
_PACKAGE = r"[A-Za-z_][\w.]*:"
_BEGINNING = re.compile(f"{_ROOT}[^:]*$|{_PACKAGE}")
_NOT_ONE = re.compile(rf"^[#;]|\n|\s(?:{_ROOT}|{_PACKAGE})|^,|,$|^(?!{_ROOT})[^:]*:[^:]*:")


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
    """The locations in the right order, with as few moves as possible.

    The first of ``ahead`` comes first and ``last`` last. The integrations stay where they are if they
    are in order. One that is not moves up to just before its successor, and a missing one comes right
    after its predecessor. So two apps that share a file agree after a few runs.
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
