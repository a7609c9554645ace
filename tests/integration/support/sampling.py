"""Which cases of a long table are run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from zlib import crc32


def sample(names: Iterable[str], one_in: int) -> list[str]:
    """Of each kind, which is a name's first word, the first case, and ``one_in`` so many: the same ones every time.

    All of them with the environment variable RATTAIL_TEST_ALL, as ``make test ALL=1`` sets it.
    """
    kinds = set[str]()
    chosen = []
    for name in names:
        kind = name.removeprefix("honest-").replace("_", "-").partition("-")[0]
        if os.environ.get("RATTAIL_TEST_ALL") or kind not in kinds or crc32(name.encode()) % one_in == 0:
            chosen.append(name)
        kinds.add(kind)
    return chosen
