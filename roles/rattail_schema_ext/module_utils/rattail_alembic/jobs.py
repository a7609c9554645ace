# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From an observation to what a migrating child is told to do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from . import packages, policy
from .catalog import Catalog
from .guard import Job
from .locations import package_of, standard
from .lock import Lock
from .observation import Observation
from .session import Limits

_CREATES = re.compile(r"\b(?:create_table\(|rename_table\(\s*['\"]\w+['\"],)\s*['\"](\w+)['\"]")


def upgrade(seen: Observation, lock: Lock, catalog: Catalog, *, record: bool = False) -> Job:
    """The job of bringing the database to the heads.

    :param catalog: what the lock's connection sees now.
    :param record: whether it tells the SQL of each revision.
    """
    assert seen.target is not None and seen.contents is not None and seen.plan is not None
    request = seen.request
    whose = owners(seen)
    return Job(
        app=request.app,
        config_file=request.config_file,
        target=seen.target,
        database=seen.contents.identity["name"],
        redirect=seen.direct,
        unpooled=not seen.contents.pooling,
        only=tuple(revision.revision for revision in seen.plan.pending),
        limits=Limits(request.lock_timeout_seconds, request.statement_timeout_seconds),
        policy=request.policy,
        policy_data=request.policy_data,
        prefixes=_of_revisions(seen, whose),
        own=whose[standard(request.app)],
        lock_pid=lock.pid,
        catalog=catalog,
        leaving=frozenset(name for name, facts in seen.facts.items() if facts.leaves),
        compare=True,
        record=record,
    )


def revert(seen: Observation, lock: Lock, catalog: Catalog, destination: str, only: Sequence[str]) -> Job:
    """The job of undoing just the revisions ``only``."""
    return replace(upgrade(seen, lock, catalog), destination=destination, downward=True, only=tuple(only))


def prefixes(seen: Observation) -> Mapping[str, policy.Prefixes]:
    """For each revision that is not core's: whose a name is. A revision is whose version location its file lies in."""
    return _of_revisions(seen, owners(seen))


def _of_revisions(seen: Observation, whose: Mapping[str, policy.Prefixes]) -> Mapping[str, policy.Prefixes]:
    assert seen.graph is not None
    revisions = seen.graph.revisions.values()
    return {each.revision: whose[each.location] for each in revisions if each.location in whose}


def owners(seen: Observation) -> dict[str, policy.Prefixes]:
    """For each version location that is not core's: whose a name is.

    A location that is a plain path, which nobody's package is the owner of, is the app's.
    """
    assert seen.graph is not None
    request = seen.request
    core = request.base.version_location
    core_directories = {os.path.realpath(each.directory) for each in seen.locations if each.spec == core}
    own: dict[str, tuple[str, ...]] = {}
    for location in seen.locations:
        package = package_of(location.spec).split(".")[0]
        if os.path.realpath(location.directory) in core_directories:
            continue
        if not package or location.spec == standard(request.app):
            own[location.spec] = _app_prefixes(seen)
        else:
            own[location.spec] = packages.prefixes(package, request.integration_prefixes)
    reserved = frozenset(_core_tables(seen, core))
    return {
        spec: policy.with_core(
            policy.Prefixes(mine, tuple(each for other, given in own.items() if other != spec for each in given)),
            reserved,
        )
        for spec, mine in own.items()
    }


def _app_prefixes(seen: Observation) -> tuple[str, ...]:
    """What the user says; by default the app's name, or, for an app that is published, what its tables really carry."""
    request = seen.request
    given = packages.clean(request.prefixes)
    return packages.prefixes(request.app) if given == (request.app,) else given


def _core_tables(seen: Observation, core: str) -> set[str]:
    """Names of tables that core's revisions make, wherever they read like it."""
    assert seen.graph is not None
    paths = (each.path for each in seen.graph.revisions.values() if each.location == core)
    return {name for path in paths for name in _CREATES.findall(seen.texts.get(path, ""))}
