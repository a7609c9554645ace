# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the role's variables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: rattail_schema_ext_mistakes
short_description: What is wrong with the variables of the role rattail_schema_ext
version_added: 1.0.0
description:
  - Names variables that begin with the role's prefix and that nobody reads, and those that must not have the
    value they have.
author:
  - rattail_schema_ext contributors
options:
  _terms:
    description: The role's directory, where C(meta/argument_specs.yml) says which variables are read.
    required: true
  app:
    description: The app's package, which has no default.
    type: str
    default: ""
  source_repo:
    description: A git URL. With a password or a token in it, it would be shown in arguments and logs.
    type: str
    default: ""
  database_option:
    description: The place of a URL in the host's config; never the URL itself, for the same reason.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Refuse misspelled variables
  ansible.builtin.assert:
    that: lookup('rattail_schema_ext_mistakes', role_path, app='poser') == ''
"""

RETURN = r"""
_raw:
  description: What is wrong, in sentences; empty where nothing is.
  type: list
  elements: str
"""

PREFIX = "rattail_schema_ext_"
RESULTS = frozenset({f"{PREFIX}result", f"{PREFIX}results"})
# Libyaml's takes an eighth of the time, in each run of the role.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HTTP_USERINFO = re.compile(r"https?://[^/@\s]+@", re.IGNORECASE)
_PASSWORD = re.compile(r"[a-z][a-z0-9+.\-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"\bpassword\s*=", re.IGNORECASE)


def mistakes(names: Iterable[str], role_path: str, app: str, source_repo: str, database_option: str = "") -> list[str]:
    """What is wrong with the variables, in sentences.

    :param names: the names of all variables there are, those of others too.
    """
    text = Path(role_path, "meta", "argument_specs.yml").read_text(encoding="utf-8")
    specs = yaml.load(text, _YAML)
    known = {name for spec in specs["argument_specs"].values() for name in spec["options"]}
    found = []
    for name in sorted({name for name in names if name.startswith(PREFIX)} - known - RESULTS):
        nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        found.append(f"There is no variable {name}. Did you mean {nearest[0]}?")
    if not app:
        found.append(f"{PREFIX}app is not set. Set it to the app's Python package, e.g. poser.")
    if _HTTP_USERINFO.match(source_repo) or _PASSWORD.match(source_repo):
        found.append(
            f"{PREFIX}source_repo has credentials in it, which would be shown in arguments and logs."
            f" Take them out, and use ssh with {PREFIX}source_key_file or git's credential store on the host."
        )
    if "://" in database_option or _DSN_PASSWORD.search(database_option):
        found.append(
            f"{PREFIX}database_option is a database URL, which would be shown in arguments and logs."
            " Put it into the app's config on the host, and name its place there, e.g. rattail.db:migration.url."
        )
    return found


class LookupModule(LookupBase):  # type: ignore[misc]
    """``lookup('rattail_schema_ext_mistakes', role_path, app=…, source_repo=…, database_option=…)``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """One sentence after the other, in one string: :func:`mistakes`."""
        self.set_options(var_options=variables, direct=kwargs)
        options = {name: self.get_option(name) for name in ("app", "source_repo", "database_option")}
        return [" ".join(mistakes(variables or {}, terms[0], **options))]
