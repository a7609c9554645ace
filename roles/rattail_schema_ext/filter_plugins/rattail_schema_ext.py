# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role has to work out on the controller, so that no Jinja has to."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

PREFIX = "rattail_schema_ext_"
RESULTS = frozenset({f"{PREFIX}result", f"{PREFIX}results"})
# What only the module that changes the database can tell; the look has empty values of those that are always there.
OF_THE_UPGRADE = frozenset({
    "applied", "lock", "retries", "blockers", "backup_file", "backup", "rehearsal", "violations", "data", "drift",
    "failed_revision", "partial", "reverted", "stamped", "revision", "left_out", "review",
})  # fmt: skip
# Of these, what shows that nothing but that module was at work: the phases to do stay to be done.
ALONE = frozenset({"reverted", "stamped", "revision"})
# Of a branch with more revisions than these, people are told how many they were.
_LINES = 10
# Libyaml's takes an eighth of the time, in each run of the role.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HTTP_USERINFO = re.compile(r"https?://[^/@\s]+@", re.IGNORECASE)
_PASSWORD = re.compile(r"[a-z][a-z0-9+.\-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)
_DSN_PASSWORD = re.compile(r"\bpassword\s*=", re.IGNORECASE)


def mistakes(names: Iterable[str], role_path: str, app: str, source_repo: str, database_option: str = "") -> list[str]:
    """What is wrong with the variables, in sentences.

    :param names: the names of all variables that begin with the role's prefix.
    :param role_path: where ``meta/argument_specs.yml`` says which of them are read.
    :param app: the app's package, which has no default.
    :param source_repo: a git URL. With a password or a token in it, it would be shown in arguments and logs.
    :param database_option: the place of a URL in the host's config; never the URL itself, for the same reason.
    """
    text = Path(role_path, "meta", "argument_specs.yml").read_text(encoding="utf-8")
    specs = yaml.load(text, _YAML)
    known = {name for spec in specs["argument_specs"].values() for name in spec["options"]}
    found = []
    for name in sorted(set(names) - known - RESULTS):
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


def last_words(output: str, lines: int = 5) -> str:
    """The end of what a command printed, passwords in URLs masked, closed by a full stop."""
    kept = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("[notice]")]
    return _masker()(" ".join(kept[-lines:])).rstrip(".") + "."


def words_of_git(result: Mapping[str, Any]) -> str:
    """Why git failed, in its own words: a sentence from the result of ``ansible.builtin.git``."""
    said = f"{result.get('stderr') or ''}\n{result.get('msg') or ''}"
    found = re.search(r"\bfatal: *(.+)", said) or re.search(r"\berror: *(.+)", said)
    return last_words(found[1] if found else said)


def _masker() -> Callable[[str], str]:
    """The one ``mask`` there is: the modules', which Ansible does not put on the controller's path."""
    path = Path(__file__).parents[1] / "module_utils" / "rattail_alembic" / "problem.py"
    spec = importlib.util.spec_from_file_location("rattail_schema_ext_problem", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    masker: Callable[[str], str] = module.mask
    return masker


def result(look: Mapping[str, Any], upgrade: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    """The role's result: what was seen first, what was applied, and how things stand now.

    :param look: the first look.
    :param upgrade: the upgrade's result; empty where there was none.
    :param again: the look after the run; empty where there was none.
    """
    now = again or upgrade or look
    warnings = [*look.get("warnings", []), *upgrade.get("warnings", [])]
    kept = {name: value for name, value in look.items() if name not in ("failed", "failed_when_result", "refusals")}
    return {
        **kept,
        **{name: value for name, value in upgrade.items() if name in OF_THE_UPGRADE},
        "state": now.get("state", look["state"]),
        "current_after": now.get("current_after", look["current_after"]),
        "branches": now.get("branches", look["branches"]),
        "summary": [*now.get("summary", look["summary"]), *_done(upgrade, warnings)],
        "source": {**look["source"], "after": now.get("source", look["source"])["after"]},
        "changed": bool(upgrade.get("changed")) or (bool(look["todo"]) and not ALONE & upgrade.keys()),
        "warnings": warnings,
    }


def _done(upgrade: Mapping[str, Any], warnings: Iterable[str]) -> list[str]:
    """What was done, in a few lines for a person; none where it was nothing."""
    # Check mode names what would be undone, and can know no seconds.
    undone = [each for each in upgrade.get("reverted", []) if each["seconds"] is not None]
    lines = _revisions("applied", upgrade.get("applied", [])) + _revisions("undone", undone)
    if upgrade.get("retries"):
        lines.append(f"  begun again after a lock timeout: {upgrade['retries']} times")
    if upgrade.get("backup_file"):
        lines.append(f"  backup: {upgrade['backup_file']}")
    return lines + [f"  warning: {warning}" for warning in dict.fromkeys(warnings)] if lines else []


def _revisions(what: str, done: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each revision, or for a branch that has many of them."""
    branches: dict[str, list[Mapping[str, Any]]] = {}
    for each in done:
        branches.setdefault(each["branch"], []).append(each)
    lines = []
    for branch, revisions in branches.items():
        if len(revisions) > _LINES:
            seconds = sum(each["seconds"] or 0.0 for each in revisions)
            lines.append(
                f"  {what}: {branch}, {len(revisions)} revisions to {revisions[-1]['revision']} ({seconds:.2f} s)"
            )
            continue
        for each in revisions:
            took = "" if each["seconds"] is None else f" ({each['seconds']:.2f} s)"
            lines.append(f"  {what}: {branch} {each['revision']} {each['message']}{took}")
    return lines


class FilterModule:
    """The role's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name → function."""
        found = (mistakes, last_words, words_of_git, result)
        return {f"{PREFIX}{function.__name__}": function for function in found}
