# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``[alembic]`` in a config file: what it says, what it should say, and how to write that.

Values are raw throughout: ``%(here)s`` is not filled in, and a literal percent sign is ``%%``.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..cores import Core
from ..problem import Refused, mask
from . import ini

NAME = "alembic"

# The Alembic releases that brought these: its changelog, and alembic/script/base.py of each release.
_HAS_NEWLINE = (1, 13, 3)
_HAS_PATH_SEPARATOR = (1, 16)
# What Alembic calls the characters that may stand between two locations (alembic/config.py).
SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}

# The options for the separator. An Alembic that has the first goes by it, and by the second where it is missing.
_SEPARATOR_NAMES = ("path_separator", "version_path_separator")
_MANAGED = ("script_location", "version_locations", *_SEPARATOR_NAMES)
# What Alembic looks up in its section, and so also finds in [DEFAULT].
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
    """``[alembic]`` as it should be, and the ``reasons`` why the file has to change; none where it is right.

    ``separator_name`` is what the Alembic in use calls its separator, and ``other_separator`` is empty where the
    file does not have the option of the other name.
    """

    script_location: str
    version_locations: list[str]
    separator_name: str
    separator: str
    other_separator_name: str
    other_separator: str
    reasons: list[str]
    warnings: list[str]

    def options(self) -> dict[str, str]:
        """The options as the section is to hold them."""
        options = {
            "script_location": self.script_location,
            "version_locations": SEPARATORS[self.separator].join(self.version_locations),
            self.separator_name: self.separator,
            self.other_separator_name: self.other_separator,
        }
        return {name: value for name, value in options.items() if value}

    def for_template(self) -> dict[str, Any]:
        """What ``templates/alembic.conf.j2`` writes."""
        return {name: value for name, value in self._asdict().items() if name not in ("reasons", "warnings")}


def read(data: bytes, name: str) -> Section:
    """What ``[alembic]`` says in the text ``data`` of the file ``name``.

    :raises Refused: naming the line, where Alembic would refuse the file or miss the section.
    """
    text = ini.decode(data, name)
    parser = ini.parse(text, name)
    lines = ini.scan(text)
    present = parser.has_section(NAME)
    for number, line in enumerate(lines, start=1):
        header = re.match(r"\[\s*alembic\s*\]", line.text.strip(), re.IGNORECASE)
        if header and not present and line.kind in ("header", "value"):
            why = ", because the line is indented" if line.kind == "value" else ""
            raise Refused(
                "config_header",
                f"{name}, line {number}: Alembic does not take {header[0]!r} for its section{why}.",
                f"Write it as [{NAME}], at the start of the line.",
            )
    own = [line.option for line in lines if line.section == NAME and line.kind == "option"]
    leaking = [key for key in _READ_BY_ALEMBIC if key in parser.defaults() and key not in own]
    return Section(
        present,
        options={option: parser.get(NAME, option) for option in own},
        warnings=tuple(f"{name}: Alembic takes {key} from [DEFAULT]; set it in [{NAME}] instead." for key in leaking),
    )


def replace(data: bytes, rendered: str) -> bytes:
    """``data`` with the options of ``rendered``, the text of a whole ``[alembic]`` section.

    Options that have an equal value, and all else, stay byte for byte; what is missing is added at the end of the
    section or of the file. A second application changes nothing.

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


def refuse_locations(before: bytes, after: bytes, known: Sequence[str]) -> None:
    """:raises Refused: where ``after`` has a location that ``before`` does not have, and that is none of ``known``."""
    new = _locations(after) - _locations(before) - {key(spec) for spec in known}
    if new:
        raise Refused(
            "section_location",
            f"[{NAME}] would get the location {min(new)!r}, for which there is no variable, and root keeps the file.",
            "See who put it there; if it is right, write it into the file yourself, and run again.",
        )


def _locations(data: bytes) -> set[str]:
    """What may be meant by the locations, whichever Alembic reads them."""
    options = read(data, "the config file").options
    text = options.get("version_locations", "")
    separators = [options[name] for name in _SEPARATOR_NAMES if name in options] or [""]
    found = [spec for each in separators for spec in locations_in(text, each) or [text]]
    return {key(spec) for spec in (*found, options.get("script_location", "")) if spec}


def _same(name: str, now: str | None, new: str, separator: str) -> bool:
    if name != "version_locations" or now is None:
        return now == new
    glue = SEPARATORS.get(separator, " ")
    return [key(spec) for spec in now.split(glue) if spec] == [key(spec) for spec in new.split(glue) if spec]


def extract(data: bytes) -> str:
    """The text of ``[alembic]`` alone, for a diff, without what may be a URL with a password."""
    lines = ini.scan(ini.decode(data, "the config file"))
    shown = ""
    for line in (lines[index] for index in ini.body(lines, NAME)):
        ours = line.option in _MANAGED and line.kind != "comment"
        shown += (line.text if ours else mask(re.sub(r"://.+", "://***", line.text))) + "\n"
    return shown


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

    :raises Refused: where ``version_locations`` cannot be taken apart or written, or there are two script locations.
    """
    options, last = section.options, core.version_location
    specs = [spec.replace("%", "%%") for spec in (app_location, *integration_locations)]
    known = {key(spec): spec for spec in (*specs, last)}
    ahead = [spec for spec in known.values() if spec != last]
    knows_both = alembic_version >= _HAS_PATH_SEPARATOR
    name, other = _SEPARATOR_NAMES if knows_both else _SEPARATOR_NAMES[::-1]
    used = other if knows_both and name not in options else name
    text = options.get("version_locations", "")
    written = locations_in(text, options.get(used, ""))
    if written is None:
        raise Refused(
            "locations_unclear",
            f"version_locations in [{NAME}] cannot be taken apart into locations: it is {text!r}, "
            f"with {f'{used} = {options[used]}' if used in options else 'no path_separator'}.",
            f"Write these two lines in [{NAME}]: version_locations = {' '.join([*ahead, last])} (and, before the last, "
            f"any other location that you need, with spaces between) and {name} = space.",
        )
    found = [known.get(key(spec), spec) for spec in written]
    reasons = disorder(found, ahead, last)
    locations = arranged(found, ahead, last) if reasons else found
    separator = _separator_for(locations, alembic_version, options.get(name), options.get(other))
    given = (script_location or "").replace("%", "%%")
    script = (given or options.get("script_location") or core.script_location).strip()
    if "\n" in script:
        raise Refused(
            "script_location_lines",
            f"script_location in [{NAME}] has more than one line.",
            "Keep the one with Alembic's env.py.",
        )
    result = Wanted(
        script_location=script,
        version_locations=locations,
        separator_name=name,
        separator=separator,
        other_separator_name=other,
        other_separator=separator if other in options else "",
        reasons=reasons,
        warnings=[
            f"[{NAME}] keeps the version location {spec}, which belongs neither to the app, "
            "nor to its integrations, nor to core."
            for spec in dict.fromkeys(locations)
            if key(spec) not in known
        ],
    )
    paths = options.get("prepend_sys_path", "")
    if knows_both and re.search(r"[,:;]", paths):
        result.warnings.append(
            f"Alembic splits prepend_sys_path ({paths}) by path_separator too: separate its entries with that."
        )
    if not section.present:
        return result._replace(reasons=[f"there is no [{NAME}] section"])
    return result._replace(reasons=reasons + _differences(options, result))


def _separator_for(locations: list[str], alembic_version: tuple[int, ...], *used: str | None) -> str:
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
    harmless = ("space", "newline") if alembic_version >= _HAS_NEWLINE else ("space",)
    return next((each for each in used if each and each in harmless), "space")


def _differences(options: Mapping[str, str], result: Wanted) -> list[str]:
    """Why the section has to change, apart from which locations it has and in which order."""
    reasons = []
    for name, new in result.options().items():
        now = options.get(name)
        if _same(name, now, new, result.separator) or (name == "version_locations" and result.reasons):
            continue
        if name == "version_locations":
            reasons.append(f"{name} is not written with the separator {result.separator!r}")
        elif now is None:
            reasons.append(f"{name} is not set")
        elif name != "script_location" and SEPARATORS.get(now) == ":":
            reasons.append(f"{name} {now!r} splits pkg:path at its colon")
        else:
            reasons.append(f"{name} is {now!r}, not {new!r}")
    return reasons


def key(spec: str) -> str:
    """What makes two locations the same without a look at the disk: ``p:a/b/`` is ``p:a/b``."""
    package, colon, path = spec.rpartition(":")
    return package + colon + posixpath.normpath(path)


# An absolute path, a package before its colon; how a location must begin, and what no location has: a second one,
# or the begin of a comment.
_ROOT = r"(?:/|%\()"
_PACKAGE = r"[A-Za-z_][\w.]*:"
_BEGINNING = re.compile(f"{_ROOT}[^:]*$|{_PACKAGE}")
_NOT_ONE = re.compile(rf"^[#;]|\n|\s(?:{_ROOT}|{_PACKAGE})|^,|,$|^(?!{_ROOT})[^:]*:[^:]*:")


def locations_in(text: str, separator: str) -> list[str] | None:
    """The locations in ``text``: split by the separator or, where that does not give any, by spaces; None if neither.

    For a separator that Alembic does not know, and for none, spaces and commas separate.
    """
    glue = SEPARATORS.get(separator)
    if glue:
        pieces = [piece.strip() for piece in text.split(glue) if piece.strip()]
        if not any(_NOT_ONE.search(piece) or (glue == ":" and not re.match(_ROOT, piece)) for piece in pieces):
            return pieces
    words = text.split() if glue else re.split(r"[\s,]+", text.strip(", \n"))
    if any(_NOT_ONE.search(word) or (glue and not _BEGINNING.match(word)) for word in words):
        return None
    return list(filter(None, words))


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
    """The locations in the right order, with few moves, so that two apps that share a file agree after a few runs.

    The first of ``ahead`` comes first and ``last`` last. An integration that is out of order moves up to just before
    its successor, and a missing one comes right after its predecessor.
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
