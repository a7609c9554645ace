# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a revision file declares, read from its text.

Nothing is imported or run, which takes a hundredth of the time that importing an app takes.
What a text does not say with certainty is ``Unreadable``, never guessed.
"""

from __future__ import annotations

import ast
import keyword
import re
import sys
import warnings
from typing import NamedTuple


class RevisionFile(NamedTuple):
    """A file of a versions directory: ``path`` as shown to people, ``location`` as it stands in
    ``version_locations``, ``text`` decoded as UTF-8 (with ``surrogateescape``, should it not be UTF-8)."""

    path: str
    location: str
    text: str


class Revision(NamedTuple):
    """What a revision file declares; ``depends_on`` as written, ``message`` as Alembic's ``Script.doc``."""

    revision: str
    down_revision: tuple[str, ...]
    branch_labels: tuple[str, ...]
    depends_on: tuple[str, ...]
    message: str
    path: str
    location: str


class Unreadable(Exception):
    """The file cannot be read as text with certainty, for this reason: let Alembic answer."""


# alembic/script/revision.py: _revision_illegal_chars; _resolve_revision_number, which reads these as symbols
_ILLEGAL_CHARACTERS = frozenset("@-+:")
_SYMBOLS = frozenset(("base", "head", "heads"))

_CODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)  # PEP 263
_FIELDS = ("revision", "down_revision", "branch_labels", "depends_on")
# Names of the module that Alembic, or the attribute look-up itself, reads.
_WATCHED = frozenset((*_FIELDS, "__doc__", "__getattr__", "_alembic_source_encoding"))
_BACK_DOORS = frozenset(
    ("exec", "eval", "globals", "locals", "vars", "setattr", "delattr", "modules", "__dict__", "__builtins__")
)
_FIRST_FUNCTION = "\ndef "
# A line at column 0 that is more than a plain function or a comment
_NOT_A_FUNCTION = re.compile(
    rf"\n(?!def (?!(?:{'|'.join(sorted(_WATCHED))})\b)\w+\([\w, ]*\)(?: -> None)?:|[ \t\n]|\#|\Z)", re.ASCII
)

# What nearly every revision file begins with, down to its first function: comments, a docstring without indented
# lines, imports, the four fields set to None or a name, and a sequence or the like made by one call. Matching it takes
# a tenth of the time of a parser.
_NAME = r"(?!(?:as|from|import)\b)[A-Za-z_]\w*"
_DOTTED = rf"{_NAME}(?:\.{_NAME})*"
_AS = rf"(?: as {_NAME})?"
_REST = r"[ \t]*(?:\#[\t -~]*)?\n"
_IMPORT = rf"import {_DOTTED}{_AS}|from {_DOTTED} import {_NAME}{_AS}(?:, {_NAME}{_AS})*"
_ANNOTATION = r"(?:: (?:str|Union\[str, (?:Sequence\[str\], )?None\]))?"  # as in Alembic's own template
_FIELD = rf"(?:{'|'.join(_FIELDS)}){_ANNOTATION} = (?:None|u?'\w+'|u?\"\w+\")"
_CALL = rf"(?!(?:{'|'.join(_FIELDS)})\b){_NAME} = {_DOTTED}\('\w+'\)"
_PROSE = r"[ !#-\[\]-~]*"  # no quote, no backslash, and no tab, which Python 3.13 expands
_DOCSTRING = rf'"""(?P<docstring>{_PROSE}(?:\n(?! ){_PROSE})*)"""'
_PLAIN = re.compile(
    rf"(?:{_REST})*(?:{_DOCSTRING}(?:{_REST})+)?(?P<body>(?:(?:{_IMPORT}|{_FIELD}|{_CALL})(?:{_REST})+)*)",
    re.ASCII,
)
_NO_PLAIN_FIELD = re.compile(rf"^(?!\#|(?:{'|'.join(_FIELDS)})\b).+", re.MULTILINE)
_NOT_TO_USE = {*keyword.kwlist, *_WATCHED, *_BACK_DOORS} - {"as", "from", "import"}
_WORD = re.compile(r"\w+", re.ASCII)
_PLAIN_FIELD = re.compile(r"^(\w+)[^=\n]* = (?:None|u?['\"](\w+)['\"])", re.MULTILINE | re.ASCII)


def is_revision_file(name: str) -> bool:
    """Whether Alembic takes a file of this name for a revision (alembic/script/base.py: _only_source_rev_file)."""
    return name.endswith(".py") and not name.startswith((".#", "__init__"))


def read_revision(file: RevisionFile) -> Revision:
    """The revision that importing ``file`` would give Alembic.

    Only what runs at import and can be judged is read: when nothing but plain functions follows
    the first one, the text before it, otherwise the whole. Whether the functions' bodies compile,
    and the imports succeed, is not looked at. Raises ``Unreadable``.
    """
    text, header = _text_and_header(file.text)
    values, message = _plain(header) or _parsed(text, header)
    revision = values.get("revision")
    if not isinstance(revision, str) or not revision:
        raise Unreadable("it sets no revision")
    if revision in _SYMBOLS or _ILLEGAL_CHARACTERS.intersection(revision):
        raise Unreadable(f"Alembic takes no revision named {revision}")
    if "down_revision" not in values:
        raise Unreadable("it sets no down_revision")
    down, labels, depends = (_strings(name, values.get(name)) for name in _FIELDS[1:])
    return Revision(revision, down, labels, depends, message, file.path, file.location)


def _text_and_header(text: str) -> tuple[str, str | None]:
    """The text with Python's line ends, and what stands before the first function.

    There is no such part where anything but plain functions follows it.
    """
    marked = text.startswith("\ufeff")
    text = text[marked:].replace("\r\n", "\n").replace("\r", "\n")
    spellings = ("utf-8",) if marked else ("utf-8", "utf8")  # Python is that particular
    for line in text.split("\n", 2)[:2]:
        coding = _CODING.match(line)
        if coding and coding.group(1).lower() not in spellings:
            raise Unreadable(f"its encoding is {coding.group(1)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unreadable(f"it is not valid Python: {error}") from error
    first = text.find(_FIRST_FUNCTION)
    # A form feed, too, goes back to column 0.
    if first < 0 or text.find("\f", first) >= 0 or _NOT_A_FUNCTION.search(text, first):
        return text, None
    return text, text[: first + 1]


def _plain(header: str | None) -> tuple[dict[str, object], str] | None:
    """What a header of the usual form declares, and its message; None for any other."""
    if header is None or sys.flags.optimize:  # which may drop docstrings
        return None
    found = _PLAIN.fullmatch(header)
    if found is None or not _NOT_TO_USE.isdisjoint(_WORD.findall(" ".join(_NO_PLAIN_FIELD.findall(found["body"])))):
        return None
    values: dict[str, object] = {name: value or None for name, value in _PLAIN_FIELD.findall(found["body"])}
    return values, _first_paragraph(found["docstring"])


def _parsed(text: str, header: str | None) -> tuple[dict[str, object], str]:
    """What a text declares, and its message, from its syntax tree."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody's docstring are no news of ours
            tree = ast.parse(text if header is None else header)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if header is not None:  # "def" stood inside a string, or below a decorator
            return _parsed(text, None)
        raise Unreadable(f"it is not valid Python: {error}") from error
    values: dict[str, object] = {}
    for name, value in _values(tree).items():
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
            raise Unreadable(f"{name} is computed") from error
    return values, _message(tree)


def _values(tree: ast.Module) -> dict[str, ast.expr]:
    """What the four fields are set to at last; any other way to set a watched name is ``Unreadable``."""
    values: dict[str, ast.expr] = {}
    plain: set[ast.AST] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        else:
            continue
        if isinstance(target, ast.Name) and target.id in _FIELDS:
            plain.add(target)
            if statement.value is not None:
                values[target.id] = statement.value
    for node in ast.walk(tree):
        used, bound = _names(node)
        if node not in plain and not _WATCHED.isdisjoint(bound):
            raise Unreadable(f"line {getattr(node, 'lineno', '?')} may set {', '.join(bound)}")
        if not _BACK_DOORS.isdisjoint(used) or "*" in used:
            raise Unreadable(f"line {getattr(node, 'lineno', '?')} may set any name")
    return values


def _names(node: ast.AST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that one node mentions, and those that it may bind or unbind, in whatever scope."""
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = node.id if isinstance(node, ast.Name) else node.attr
        return (name,), () if isinstance(node.ctx, ast.Load) else (name,)
    if isinstance(node, ast.alias):
        return (node.name,), ((node.asname or node.name).partition(".")[0],)
    # Definitions, exception handlers and patterns keep what they bind as text, under one of two attributes.
    names = (getattr(node, "name", None), getattr(node, "rest", None))
    return (), tuple(name for name in names if isinstance(name, str))


def _strings(name: str, literal: object) -> tuple[str, ...]:
    """The strings in the value of a field, made a tuple as ``alembic.util.to_tuple`` does."""
    if literal is None:
        return ()
    if isinstance(literal, str):
        literal = (literal,)
    if isinstance(literal, (tuple, list)):  # a set has no order to go by, and Alembic 1.7 takes none
        strings = tuple(item for item in literal if isinstance(item, str) and item)
        if len(strings) == len(literal):
            return strings
    raise Unreadable(f"{name} is neither None nor names")


def _message(tree: ast.Module) -> str:
    """The docstring's first paragraph."""
    if ast.get_docstring(tree, clean=False) is None:
        return ""
    # The compiler knows what becomes of a docstring: Python 3.13 dedents it, -OO drops it.
    module: dict[str, object] = {}
    exec(compile(ast.Module(body=tree.body[:1], type_ignores=[]), "<docstring>", "exec"), module)
    return _first_paragraph(str(module.get("__doc__") or ""))


def _first_paragraph(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n\n")[0]
