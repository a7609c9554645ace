# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the user asked for, as the modules' parameters have it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..cores import CORES, Core
from ..host.git import Repository

# A path, in the words of a module's parameters.
Path = str
# Where these are by default, below the environment.
_BELOW_ENV = {
    "config_file": "",
    "backup_dir": "app/backups",
    "history_dir": "app/schema-history",
    "revision_review_dir": "app/schema-reviews",
}
_LIST = "tuple[str, ...]"
# What Ansible calls types that have another name in Python.
_TYPES = {"Path": "path", _LIST: "list", "Mapping[str, Sequence[str]]": "dict"}


def one_of(default: str, *others: str) -> Any:
    """A field that takes one of these words."""
    return field(default=default, metadata={"choices": [default, *others]})


@dataclass(frozen=True)
class Request:
    """What the user asked for: variables of the role's, named without ``rattail_schema_ext_``. Paths are absolute."""

    app: str
    env_dir: Path
    config_file: Path
    source_dir: Path
    user: str = "rattail"
    core: str = one_of("rattail", "wutta")
    config_enabled: bool = True
    source_enabled: bool = True
    source_repo: str = ""
    source_version: str = "HEAD"
    source_key_file: Path = ""
    source_accept_newhostkey: bool = False
    install_enabled: bool = True
    integrations: tuple[str, ...] = ()
    script_location: str = ""
    allow_uncommitted_revisions: bool = False
    prefixes: tuple[str, ...] = ()
    integration_prefixes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    policy: str = one_of("enforce", "warn", "off")
    policy_data: str = one_of("report", "refuse")
    lock_wait_seconds: float = 3600
    lock_timeout_seconds: float = 5
    lock_retries: int = 10
    statement_timeout_seconds: float = 0
    backup: str = one_of("full", "schema", "none")
    backup_dir: Path = ""
    backup_keep: int = 5
    rehearsal: str = one_of("none", "clone", "transaction")
    expected_database: str = ""
    database_option: str = ""
    postgresql_bin_dir: Path = ""
    history_dir: Path = ""
    revert_to: str = ""
    revert_confirm: str = ""
    baseline_revision: tuple[str, ...] = ()
    revision_message: str = ""
    revision_review: str = one_of("auto", "true", "false")
    revision_review_dir: Path = ""
    revision_merge: bool = False

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Request:
        """The request in a module's parameters; others are passed over, and an option left out is None."""
        names = {each.name for each in fields(cls)}
        given = {name: value for name, value in parameters.items() if name in names and value is not None}
        for each in fields(cls):
            if each.type == _LIST:
                given[each.name] = tuple(given.get(each.name, ()))
        # pip's names of them are known as well
        given["integrations"] = tuple(name.strip().replace("-", "_") for name in given["integrations"])
        given["prefixes"] = given["prefixes"] or (given["app"],)
        for name, place in _BELOW_ENV.items():
            given[name] = os.path.join(given["env_dir"], given.get(name) or place)
        return cls(**given)

    @property
    def base(self) -> Core:
        """Facts of the core package."""
        return CORES[self.core]

    @property
    def repository(self) -> Repository | None:
        """Where the source is checked out from; None where it is used as it is, or not at all."""
        if not self.source_enabled or not self.source_repo:
            return None
        return Repository(self.source_repo, self.source_version, self.source_key_file, self.source_accept_newhostkey)


def argument_spec() -> dict[str, dict[str, Any]]:
    """The parameters that make a :class:`Request`, as AnsibleModule wants them described."""
    spec: dict[str, dict[str, Any]] = {}
    for each in fields(Request):
        about: dict[str, Any] = {"type": _TYPES.get(str(each.type), each.type)}
        if each.type == _LIST:
            about.update(elements="str", default=[])
        elif each.default is not MISSING:
            about["default"] = each.default
        elif each.default_factory is not MISSING:
            about["default"] = {}
        else:
            about["required"] = True
        spec[each.name] = {**about, **each.metadata}
    return spec
