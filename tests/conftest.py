"""Make the role's Python importable as Ansible makes it importable."""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "rattail_schema_ext"

ansible.module_utils.__path__.append(str(ROLE / "module_utils"))
sys.path[:0] = [str(ROLE / name) for name in ("library", "action_plugins")]
