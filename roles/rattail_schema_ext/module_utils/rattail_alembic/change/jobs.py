# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what a look found to what a migrating child is told to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..migration.job import Job
from ..observe import owners
from ..observe.observation import Ready
from ..postgres.catalog import Catalog
from ..postgres.limits import Limits
from ..postgres.lock import Lock
from ..revisions.locations import standard


def upgrade(ready: Ready, lock: Lock, catalog: Catalog, *, record: bool = False) -> Job:
    """The job of bringing the database to the heads.

    :param catalog: what the lock's connection sees now.
    :param record: whether it tells the SQL of each revision.
    """
    request = ready.request
    whose = owners.of_locations(ready)
    return Job(
        app=request.app,
        config_file=request.config_file,
        target=ready.target,
        database=ready.contents.identity["name"],
        redirect=ready.redirect,
        unpooled=not ready.contents.pooling,
        only=tuple(revision.revision for revision in ready.plan.pending),
        limits=Limits(request.lock_timeout_seconds, request.statement_timeout_seconds),
        policy=request.policy,
        policy_data=request.policy_data,
        prefixes=owners.of_revisions(ready, whose),
        own=whose[standard(request.app)],
        lock_pid=lock.pid,
        catalog=catalog,
        leaving=ready.leaving,
        compare=True,
        record=record,
    )


def revert(ready: Ready, lock: Lock, catalog: Catalog, destination: str, only: Sequence[str]) -> Job:
    """The job of undoing just the revisions ``only``."""
    return replace(upgrade(ready, lock, catalog), destination=destination, downward=True, only=tuple(only))
