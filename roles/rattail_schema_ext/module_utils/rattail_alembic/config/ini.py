# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A config file line by line, as Python's configparser takes it, with nothing lost.

The values come from configparser itself. What is added here is where each of them stands.
"""

from __future__ import annotations

import configparser
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..problem import Refused

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n)|([^\r\n]+)")
_HEADER = configparser.RawConfigParser.SECTCRE
_OPTION = configparser.RawConfigParser.OPTCRE


class Line(NamedTuple):
    """One line: its ``text``, its ``end`` (empty only at the end of the file), and what it is.

    ``kind`` is ``header``, ``option``, ``value`` (a continuation), ``comment`` or ``blank``;
    ``section`` and ``option`` say what it belongs to, empty where there is none.
    """

    text: str
    end: str
    kind: str
    section: str
    option: str

    @property
    def indent(self) -> str:
        """The white space it begins with."""
        return self.text[: len(self.text) - len(self.text.lstrip())]

    @property
    def value_start(self) -> int | None:
        """Where the value begins in the line of an option; None where it has none."""
        match = _OPTION.match(self.text.strip())
        return len(self.indent) + match.start("value") if match and match["value"] else None


def decode(data: bytes, name: str) -> str:
    """The text of a file.

    :raises Refused: for a byte order mark, and for what is not UTF-8: Alembic fails on both.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise Refused(
            "config_bom",
            f"{name}, line 1: the file begins with a byte order mark, on which Alembic fails.",
            "Save it as UTF-8 without a byte order mark.",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(list(_LINE.finditer(data[: error.start].decode("utf-8") + ".")))
        raise wrong_encoding(f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8.") from None


def wrong_encoding(cause: str) -> Refused:
    """A file is not in the encoding that it is read in."""
    return Refused("config_encoding", cause, "Save the file as UTF-8.")


def parse(text: str, name: str) -> configparser.RawConfigParser:
    """The text as configparser reads it: strictly, as Alembic and Rattail do, without interpolation.

    :raises Refused: naming the line, and never quoting it: it may hold a password.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_LINE.sub(lambda match: (match[1] or match[3] or "") + "\n", text))
    except configparser.Error as error:
        raise unreadable(error, name) from None
    return parser


def unreadable(error: configparser.Error, name: str) -> Refused:
    """What configparser does not accept in the file ``name``."""
    if isinstance(error, (configparser.DuplicateSectionError, configparser.DuplicateOptionError)):
        option = getattr(error, "option", "")
        what = "is there a second time"
        what = f"{option} {what} in [{error.section}]" if option else f"the section [{error.section}] {what}"
        return Refused(
            "config_duplicate", f"{name}, line {error.lineno}: {what}.", "Remove one of the two, or merge them."
        )
    line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), 1)
    cause = "this is neither a section, nor an option, nor a comment"
    remedy = "Write it as `name = value`, or indent it if it continues the value above."
    if isinstance(error, configparser.MissingSectionHeaderError):
        cause = "there is text before the first [section]"
        remedy = "Move it below the header of a section, or make it a comment with # at its start."
    return Refused("config_syntax", f"{name}, line {line}: {cause}.", remedy)


def scan(text: str) -> list[Line]:
    """The lines of a text that :func:`parse` accepts. Joined, their texts and ends are the text."""
    lines = []
    section = option = ""
    depth = 0
    for match in _LINE.finditer(text):
        content, end = match[1] or match[3] or "", match[2] or ""
        bare = content.strip()
        indent = len(content) - len(content.lstrip())
        if not bare:
            kind = "blank"
        elif bare.startswith(("#", ";")):
            kind = "comment"
        elif option and indent > depth:
            kind = "value"
        else:
            depth = indent
            header = _HEADER.match(bare)
            if header:
                kind, section, option = "header", header["header"], ""
            else:
                found = _OPTION.match(bare)
                kind, option = "option", found["option"].rstrip().lower() if found else ""
        lines.append(Line(content, end, kind, section, option))
    return lines


def body(lines: Iterable[Line], section: str) -> list[int]:
    """Where a section stands: the indexes of its lines from the header to its last value.

    Blank lines and comments after that belong to whatever comes next.
    """
    inside = [(index, line) for index, line in enumerate(lines) if line.section == section]
    last = max((index for index, line in inside if line.kind not in ("comment", "blank")), default=-1)
    return [index for index, _ in inside if index <= last]


def merge(text: str, section: str, options: Mapping[str, str], whole: str) -> str:
    """``text`` with ``options`` (raw values by lower-cased name) in ``section``, and all else as it was.

    ``whole`` is the section's text, appended where there is no such section. New lines end as those
    of the section do, or else as those of the file.
    """
    lines = scan(text)
    inside = body(lines, section)
    end = _line_end(lines[index] for index in inside) or _line_end(lines) or "\n"
    if not inside:
        between = (end if lines and not lines[-1].end else "") + (end if lines and lines[-1].kind != "blank" else "")
        return text + between + "".join(line.text + end for line in scan(whole.rstrip()))
    pieces = [line.text + line.end for line in lines]
    added = ""
    for name, value in options.items():
        places = [index for index in inside if lines[index].option == name and lines[index].kind != "comment"]
        if not places:
            indent = _indent_of_more(lines, inside)
            added += _option(f"{indent}{name} = ", value, indent, end) + end
            continue
        line = lines[places[0]]
        start = line.value_start
        if start is None and "\n" in value:
            value = "\n" + value
        prefix = line.text.rstrip() + " " if start is None else line.text[:start]
        pieces[places[0]] = _option(prefix, value, line.indent, end) + line.end
        for index in places[1:]:
            pieces[index] = ""
    if added and not lines[inside[-1]].end:
        added = end + added
    pieces[inside[-1]] += added
    return "".join(pieces)


def _line_end(lines: Iterable[Line]) -> str:
    ends = Counter(line.end for line in lines if line.end)
    return max(ends, key=lambda end: (ends[end], end == "\n"), default="")


def _option(prefix: str, value: str, indent: str, end: str) -> str:
    first, *more = value.split("\n")
    return (prefix + first).rstrip() + "".join(f"{end}{indent}    {line}" for line in more if line)


def _indent_of_more(lines: list[Line], inside: list[int]) -> str:
    """How far to indent an option put after all others.

    No deeper than the option above, or it would continue that one's value; no less than the header
    below, or that would continue ours.
    """
    last = lines[inside[-1]]
    if last.option:
        return next(lines[index].indent for index in inside if lines[index].option == last.option)
    following = (line for line in lines[inside[-1] + 1 :] if line.kind == "header")
    return next(following, last).indent
