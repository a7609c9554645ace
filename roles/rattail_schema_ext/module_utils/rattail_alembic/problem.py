# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong, said once: a cause and a remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass

_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.\-]*://[^\s:/?#@]*):[^\s@/]*(?:@[^\s@/]*)*@", re.IGNORECASE)
_QUERY_PASSWORD = re.compile(r"(?P<key>(?:^|[?&\s])password=)(?:'[^']*'|[^&\s]+)", re.IGNORECASE)


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


def mask(text: str) -> str:
    """``text`` with the password of every URL or connection string in it replaced by ``***``."""
    text = _USERINFO.sub(r"\g<scheme>:***@", text)
    return _QUERY_PASSWORD.sub(r"\g<key>***", text)
