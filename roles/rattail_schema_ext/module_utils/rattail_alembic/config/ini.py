# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A config file line by line: where what configparser reads in it stands, with nothing lost."""

from __future__ import annotations

import configparser
import io
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..problem import Refused


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


def decode(data: bytes, name: str) -> str:
    """:raises Refused: for a byte order mark, and for what is not UTF-8: Alembic fails on both."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise Refused(
            "config_bom",
            f"{name}, line 1: the file begins with a byte order mark, on which Alembic fails.",
            "Save it as UTF-8 without a byte order mark.",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(list(io.StringIO(data[: error.start].decode("utf-8") + ".", newline="")))
        raise wrong_encoding(f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8.") from None


def wrong_encoding(cause: str, remedy: str = "Save the file as UTF-8.") -> Refused:
    """A file is not in the encoding that it is read in."""
    return Refused("config_encoding", cause, remedy)


def refuse_unread(data: bytes, name: str) -> None:
    """:raises Refused: for UTF-8 that is not what a file is read as in this locale, by Alembic as well."""
    encoding = "locale" if sys.version_info >= (3, 10) else None
    try:
        io.TextIOWrapper(io.BytesIO(data), encoding=encoding).read()
    except UnicodeDecodeError:
        remedy = "Give the play a locale of that encoding (environment: {LC_ALL: C.UTF-8}), or write the file in ASCII."
        raise wrong_encoding(f"{name} is UTF-8, and the locale that it is read in here is not.", remedy) from None


def parse(text: str, name: str) -> configparser.RawConfigParser:
    """The text as configparser reads it: strictly, as Alembic and Rattail do, without interpolation.

    :raises Refused: naming the line, and never quoting it: it may hold a password.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_file(io.StringIO(text, newline=None))
    except configparser.Error as error:
        raise unreadable(error, name) from None
    return parser


def unreadable(error: configparser.Error, name: str) -> Refused:
    """What configparser does not accept in the file ``name``."""
    line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), 1)
    if isinstance(error, configparser.DuplicateOptionError):
        what = f"{error.option} is there a second time in [{error.section}]"
    elif isinstance(error, configparser.DuplicateSectionError):
        what = f"the section [{error.section}] is there a second time"
    else:
        what = "this is neither a section, nor an option, nor a comment"
        remedy = "Write it as `name = value`, or indent it if it continues the value above."
        if isinstance(error, configparser.MissingSectionHeaderError):
            what = "there is text before the first [section]"
            remedy = "Move it below the header of a section, or make it a comment with # at its start."
        return Refused("config_syntax", f"{name}, line {line}: {what}.", remedy)
    return Refused("config_duplicate", f"{name}, line {line}: {what}.", "Remove one of the two, or merge them.")


def scan(text: str) -> list[Line]:
    """The lines of a text that :func:`parse` accepts. Joined, their texts and ends are the text."""
    lines = []
    section = option = ""
    depth = 0
    for whole in io.StringIO(text, newline=""):
        content = whole.rstrip("\r\n")
        bare = content.strip()
        indent = len(content) - len(content.lstrip())
        header = configparser.RawConfigParser.SECTCRE.match(bare)
        if not bare:
            kind = "blank"
        elif bare.startswith(("#", ";")):
            kind = "comment"
        elif option and indent > depth:
            kind = "value"
        elif header:
            kind, section, option, depth = "header", header["header"], "", indent
        else:
            kind, option, depth = "option", re.split("[=:]", bare)[0].rstrip().lower(), indent
        lines.append(Line(content, whole[len(content) :], kind, section, option))
    return lines


def body(lines: Sequence[Line], section: str) -> range:
    """Where a section stands: the indexes of its lines from the header to its last value.

    Blank lines and comments after that belong to whatever comes next.
    """
    solid = (index for index, line in enumerate(lines) if line.kind not in ("comment", "blank"))
    own = [index for index in solid if lines[index].section == section]
    return range(own[0], own[-1] + 1) if own else range(0)


def merge(text: str, section: str, options: Mapping[str, str], whole: str) -> str:
    """``text`` with ``options`` (raw values by lower-cased name) in ``section``, and all else as it was.

    ``whole`` is the section's text, appended where there is no such section. New lines end as the
    section's header does, or else as the file's first line.
    """
    lines = scan(text)
    inside = body(lines, section)
    end = next((line.end for line in (*(lines[index] for index in inside), *lines) if line.end), "\n")
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
        before, equals, now = re.split(r"([=:]\s*)", line.text, maxsplit=1)
        if not now:
            equals = equals.rstrip() + " "
            value = "\n" + value if "\n" in value else value
        pieces[places[0]] = _option(before + equals, value, line.indent, end) + line.end
        for index in places[1:]:
            pieces[index] = ""
    if added and not lines[inside[-1]].end:
        added = end + added
    pieces[inside[-1]] += added
    return "".join(pieces)


def _option(prefix: str, value: str, indent: str, end: str) -> str:
    first, *more = value.split("\n")
    return (prefix + first).rstrip() + "".join(f"{end}{indent}    {line}" for line in more if line)


def _indent_of_more(lines: list[Line], inside: range) -> str:
    """How far to indent an option put after all others.

    No deeper than the option above, or it would continue that one's value; no less than the header
    below, or that would continue ours.
    """
    last = lines[inside[-1]]
    if last.option:
        return next(lines[index].indent for index in inside if lines[index].option == last.option)
    following = (line for line in lines[inside[-1] + 1 :] if line.kind == "header")
    return next(following, last).indent
