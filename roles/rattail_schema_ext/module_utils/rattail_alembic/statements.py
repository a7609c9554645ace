# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The SQL that a revision executes, as it is shown to a person: a line each, without passwords, not without end."""

from __future__ import annotations

from .problem import mask

_CHARACTERS = 2_000
_OF_A_REVISION = 20_000
_OF_ALL = 200_000


class Statements:
    """Takes statements as they come, and gives those of one revision after another.

    :param bounded: whether a long statement is cut, and what is too much is only counted.
    """

    def __init__(self, *, bounded: bool) -> None:
        self._bounded = bounded
        self._kept: list[str] = []
        self._more = 0
        self._left = _OF_ALL
        self._room = min(_OF_A_REVISION, self._left)

    def add(self, text: str) -> None:
        """A statement is executed."""
        # masked before it is cut, since half a password is one, too
        words = mask(" ".join(text.split()))
        if self._bounded:
            words = words if len(words) <= _CHARACTERS else f"{words[:_CHARACTERS]} …"
            if self._more or len(words) > self._room:
                self._more += 1
                return
            self._room -= len(words)
            self._left -= len(words)
        self._kept.append(words)

    def take(self) -> list[str]:
        """Those since the last time; in place of what is left out, a comment says how many there were."""
        found = self._kept + ([f"-- and {self._more} more"] if self._more else [])
        self._kept, self._more = [], 0
        self._room = min(_OF_A_REVISION, self._left)
        return found
