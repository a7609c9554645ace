# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong, said once: a cause and a remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Any

# Where something stands as a password, whatever it is; not in the example that remedies give.
_USERINFO = re.compile(r"(?<![a-z0-9+.-])([a-z0-9+.-]+://(?!user:password@host)[^\s:/]*):\S{0,300}@", re.IGNORECASE)
_QUOTED = r"""(?:e|u&)?'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|(?P<tag>\$\w*\$).*?(?P=tag)"""
_VALUE = re.compile(
    rf"""(passw(?:or)?d\\*["']?[ \t]*[=:](?!:)[ \t]*|password\s+(?=(?:e|u&)?'|\$))(?!\*\*\*)(?:{_QUOTED}|[^&\s]+)""",
    re.IGNORECASE | re.DOTALL,
)
_SHORT = 6
_passwords: set[str] = set()
_names = {"alembic", "database", "localhost", "password", "postgres", "postgresql", "rattail", "wutta"}
_known = re.compile("(?!)")


@dataclass(frozen=True)
class Problem:
    """Something the role refuses to go on with.

    ``code`` is a short stable word for programs (``location_missing``); ``cause`` and
    ``remedy`` are one sentence each, for a person, and never hold a secret.
    """

    code: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}"

    def as_dict(self) -> dict[str, str]:
        """The problem as a module result shows it: keys ``code``, ``cause`` and ``remedy``."""
        return {"code": self.code, "cause": self.cause, "remedy": self.remedy}


class Refused(Exception):
    """Raised where nothing more can be done because of ``problem``."""

    def __init__(self, code: str, cause: str, remedy: str) -> None:
        self.problem = Problem(code, cause, remedy)
        super().__init__(str(self.problem))


def learn(password: str, *names: str) -> None:
    """Have a password masked from now on. ``names`` are shown anyway: one that is equal is masked in its place only.

    So is one of less than six characters. One of letters or digits alone is masked as a word, and others everywhere.
    """
    global _known
    if password in _passwords and _names.issuperset(map(str.casefold, names)):
        return
    _passwords.add(password)
    _names.update(map(str.casefold, names))
    patterns = map(_anywhere, sorted(filter(str.strip, _passwords), key=len, reverse=True))
    _known = re.compile("|".join(patterns) or "(?!)", re.IGNORECASE)


def _anywhere(password: str) -> str:
    """A pattern of a password as it is, in URLs, and in quotes, however many of these are around one another."""
    pattern = "".join(_spelt(character, len(list(run))) for character, run in groupby(password))
    if len(password) < _SHORT or password.casefold() in _names:
        return f"(?<=:){pattern}(?=@)"
    if password.isalpha() or password.isdigit():
        return rf"(?:(?<!\w)|(?<=\\[abfnrtv])|(?<=%[0-9a-f]{{2}})){pattern}(?!\w)"
    return pattern


def _spelt(character: str, times: int) -> str:
    """A pattern of a character that stands there so many times."""
    octets = [f"{each:02x}" for each in character.encode("utf-8", "surrogatepass")]
    in_url = "".join(f"%{{1,2}}{octet}" for octet in octets)
    if character.isascii() and character.isalnum():
        return f"(?:{character}|{in_url}){{{times}}}"
    units = re.findall("....", character.encode("utf-16-be", "surrogatepass").hex())
    slashes, own, most = r"\\{1,8}", rf"\\{{0,8}}{re.escape(character)}", 2 * times
    ways = {f"{slashes}x": octets, f"{slashes}u": units, f"{slashes}(?:x|U0*)": [f"{ord(character):x}"]}
    escapes = "|".join("".join(before + part for part in parts) for before, parts in ways.items())
    if character.isspace():
        # several become one where lines are joined
        times, own = 0, rf"\s|\+|{slashes}[abfnrtv]"
    elif character == "\\":
        own, most = r"\\", 8 * times
    return f"(?:{in_url}|{escapes}|{own}){{{times},{most}}}"


def mask(text: str) -> str:
    """``text`` with ``***`` for passwords: those that were learnt, in any spelling, and what stands as one."""
    text = _USERINFO.sub(r"\1:***@", _known.sub("***", text))
    return _VALUE.sub(r"\1***", text)


def masked(value: Any) -> Any:
    """The same for all texts in plain data."""
    if isinstance(value, dict):
        return {name: masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return mask(value) if isinstance(value, str) else value
