"""What a test needs and this machine has not: that is a failure, unless it was allowed."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

ALLOW = "ALLOW_SKIPS"


def lacking(what: str, why: str) -> NoReturn:
    """Fail the test for want of ``what``; skip it where the environment variable ``ALLOW_SKIPS`` is 1.

    Nobody reads the reasons of skipped tests, so that a skip in silence is a test that has gone.
    """
    needed = f"This test needs {what}, and {why.rstrip('.')}."
    if os.environ.get(ALLOW) == "1":
        pytest.skip(needed)
    pytest.fail(f"{needed} To do without such tests on this machine: make test {ALLOW}=1", pytrace=False)
