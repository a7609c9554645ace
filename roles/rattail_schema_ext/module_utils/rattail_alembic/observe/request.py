# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the user asked for, as the modules are told it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cores import CORES, Core
from ..host.git import Repository

# Where these are kept unless told otherwise, below the environment.
_BELOW_ENV = {"config_file": "", "backup_dir": "app/backups", "history_dir": "app/schema-history"}


@dataclass(frozen=True)
class Request:
    """What the user asked for: the modules' parameters, in the same words. Paths are absolute."""

    app: str
    env_dir: str
    config_file: str
    source_dir: str
    user: str = "rattail"
    core: str = "rattail"
    config_enabled: bool = True
    source_enabled: bool = True
    source_repo: str = ""
    source_version: str = "HEAD"
    source_key_file: str = ""
    source_accept_newhostkey: bool = False
    install_enabled: bool = True
    integrations: tuple[str, ...] = ()
    script_location: str = ""
    allow_uncommitted_revisions: bool = False
    prefixes: tuple[str, ...] = ()
    integration_prefixes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    policy: str = "enforce"
    policy_data: str = "report"
    lock_wait_seconds: float = 3600
    lock_timeout_seconds: float = 5
    lock_retries: int = 10
    statement_timeout_seconds: float = 0
    backup: str = "full"
    backup_dir: str = ""
    backup_keep: int = 5
    rehearsal: str = "none"
    expected_database: str = ""
    database_option: str = ""
    postgresql_bin_dir: str = ""
    history_dir: str = ""

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> Request:
        """The request in a module's parameters, where an option left out is None."""
        given = {name: value for name, value in parameters.items() if value is not None}
        given["integrations"] = tuple(given.get("integrations", ()))
        given["prefixes"] = tuple(given.get("prefixes") or [given["app"].split(".")[0]])
        for name in ("config_file", "backup_dir", "history_dir"):
            given[name] = os.path.join(given["env_dir"], given.get(name) or _BELOW_ENV[name])
        return cls(**given)

    @property
    def base(self) -> Core:
        """Facts of the core package."""
        return CORES[self.core]

    @property
    def repository(self) -> Repository | None:
        """Where the source is checked out from; None where it is used as it lies, or not at all."""
        if not self.source_enabled or not self.source_repo:
            return None
        return Repository(self.source_repo, self.source_version, self.source_key_file, self.source_accept_newhostkey)


def argument_spec() -> dict[str, dict[str, Any]]:
    """The parameters that make a :class:`Request`, as AnsibleModule wants them described."""
    return {
        "app": {"type": "str", "required": True},
        "env_dir": {"type": "path", "required": True},
        "config_file": {"type": "path", "required": True},
        "source_dir": {"type": "path", "required": True},
        "user": {"type": "str", "default": "rattail"},
        "core": {"type": "str", "choices": sorted(CORES), "default": "rattail"},
        "config_enabled": {"type": "bool", "default": True},
        "source_enabled": {"type": "bool", "default": True},
        "source_repo": {"type": "str", "default": ""},
        "source_version": {"type": "str", "default": "HEAD"},
        "source_key_file": {"type": "path", "default": ""},
        "source_accept_newhostkey": {"type": "bool", "default": False},
        "install_enabled": {"type": "bool", "default": True},
        "integrations": {"type": "list", "elements": "str", "default": []},
        "script_location": {"type": "str", "default": ""},
        "allow_uncommitted_revisions": {"type": "bool", "default": False},
        "prefixes": {"type": "list", "elements": "str"},
        "integration_prefixes": {"type": "dict", "default": {}},
        "policy": {"type": "str", "choices": ["enforce", "warn", "off"], "default": "enforce"},
        "policy_data": {"type": "str", "choices": ["report", "refuse"], "default": "report"},
        "lock_wait_seconds": {"type": "float", "default": 3600},
        "lock_timeout_seconds": {"type": "float", "default": 5},
        "lock_retries": {"type": "int", "default": 10},
        "statement_timeout_seconds": {"type": "float", "default": 0},
        "backup": {"type": "str", "choices": ["none", "schema", "full"], "default": "full"},
        "backup_dir": {"type": "path"},
        "backup_keep": {"type": "int", "default": 5},
        "rehearsal": {"type": "str", "choices": ["none", "clone", "transaction"], "default": "none"},
        "expected_database": {"type": "str", "default": ""},
        "database_option": {"type": "str", "default": ""},
        "postgresql_bin_dir": {"type": "path", "default": ""},
        "history_dir": {"type": "path"},
    }
