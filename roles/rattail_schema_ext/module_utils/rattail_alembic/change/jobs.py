# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From an observation to what a migrating child is told to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..migration.job import Job
from ..observe import owners
from ..observe.observation import Observation
from ..postgres.catalog import Catalog
from ..postgres.limits import Limits
from ..postgres.lock import Lock
from ..revisions.locations import standard


def upgrade(seen: Observation, lock: Lock, catalog: Catalog, *, record: bool = False) -> Job:
    """The job of bringing the database to the heads.

    :param catalog: what the lock's connection sees now.
    :param record: whether it tells the SQL of each revision.
    """
    assert seen.target is not None and seen.contents is not None and seen.plan is not None
    request = seen.request
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
        prefixes=owners.of_revisions(seen),
        own=owners.of_locations(seen)[standard(request.app)],
        lock_pid=lock.pid,
        catalog=catalog,
        leaving=frozenset(name for name, facts in seen.facts.items() if facts.leaves or facts.unread),
        compare=True,
        record=record,
    )


def revert(seen: Observation, lock: Lock, catalog: Catalog, destination: str, only: Sequence[str]) -> Job:
    """The job of undoing just the revisions ``only``."""
    return replace(upgrade(seen, lock, catalog), destination=destination, downward=True, only=tuple(only))
