# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The door: what stands on the controller before each of the role's modules. No action by itself.

Everything that comes from a host passes here: it is built anew from the keys and types of an ``Answer``, and what is none
of them is dropped.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import ansible.module_utils
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

_ROLE = Path(__file__).resolve().parents[1]
# Ansible puts a role's module_utils where modules find them, but not plugins.
if str(_ROLE / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(_ROLE / "module_utils"))

from ansible.module_utils.rattail_alembic.observe.answer import Answer, Revision  # noqa: E402
from ansible.module_utils.rattail_alembic.observe.request import argument_spec  # noqa: E402
from ansible.module_utils.rattail_alembic.problem import mask  # noqa: E402


def beside(name: str) -> Any:
    """The Python file of that name beside this one, which Ansible would take for an action."""
    full_name = f"rattail_schema_ext_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = sys.modules[full_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full_name]
