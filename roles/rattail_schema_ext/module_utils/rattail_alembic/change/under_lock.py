# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What upgrade, revert and baseline do alike while they hold the lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..copies import backup
from ..observe.answer import result
from ..observe.observation import Observation
from ..observe.request import Request
from ..postgres.connection import driver
from ..postgres.lock import Lock, take
from ..problem import Refused

Tell = Callable[[str], None]


def locked(
    request: Request, before: Observation, answer: dict[str, Any], tell: Tell, work: Callable[[Lock], str]
) -> str:
    """What ``work`` returns once it is alone with the database, or why it did not come to that."""
    assert before.way is not None
    try:
        with take(before.way, request.app, before.version_table, request.lock_wait_seconds, tell) as lock:
            answer["lock"] = {
                "waited_seconds": lock.waited_seconds,
                "holders": [holder.as_dict() for holder in lock.holders],
            }
            if lock.holders:
                answer["warnings"].append(f"Waited {lock.waited_seconds:g} s for {'; '.join(map(str, lock.holders))}.")
            try:
                return work(lock)
            except driver().Error as error:
                raise lock.failed(error) from None
    except Refused as refused:
        return str(refused.problem)


def save(request: Request, before: Observation, answer: dict[str, Any], lock: Lock) -> None:
    """Back the database up.

    :raises Refused: where that fails, since without it nothing is changed.
    """
    assert before.way is not None and before.plan is not None
    lock.enter("backup")
    made = backup.make(
        before.way,
        mode=request.backup,
        directory=request.backup_dir,
        app=request.app,
        heads=before.plan.rows,
        keep=request.backup_keep,
        bin_dir=request.postgresql_bin_dir,
    )
    answer["backup_file"] = made.file
    answer["backup"] = {name: getattr(made, name) for name in ("file", "size", "sha256", "seconds", "mode")}
    answer["backup"]["pruned"] = list(made.pruned)
    answer["warnings"] += made.warnings


def bring_up_to_date(answer: dict[str, Any], now: Observation) -> None:
    fresh = result(now)
    answer.update({name: fresh[name] for name in ("state", "heads", "current_after", "branches", "todo", "summary")})
    answer["warnings"] += [warning for warning in fresh["warnings"] if warning not in answer["warnings"]]
