"""Make the role's Python importable as Ansible makes it importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import ansible.module_utils
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "rattail_schema_ext"

ansible.module_utils.__path__.append(str(ROLE / "module_utils"))
sys.path[:0] = [str(ROLE / name) for name in ("library", "action_plugins")]


@pytest.fixture(autouse=True)
def forget_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test's URLs teach ``mask`` is not known in the next."""
    from ansible.module_utils.rattail_alembic import problem

    for name in ("_passwords", "_names"):
        monkeypatch.setattr(problem, name, set(getattr(problem, name)))
    monkeypatch.setattr(problem, "_known", problem._known)
    yield
