# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What upgrade, revert and baseline do alike: win the lock, make a backup, look again."""

from __future__ import annotations

from collections.abc import Callable

from ..copies import backup
from ..observe import report
from ..observe.answer import Answer, Backup, Holder
from ..observe.answer import Lock as Wait
from ..observe.look import look
from ..observe.observation import Observation, Ready
from ..postgres.connection import driver
from ..postgres.lock import Lock, take
from ..problem import Refused

# Is told, in a sentence, what a person who waits would like to know.
Tell = Callable[[str], None]


def silent(_sentence: str) -> None:
    """Nobody is told."""


def locked(ready: Ready, answer: Answer, tell: Tell, work: Callable[[Lock], None]) -> None:
    """Have ``work`` done alone with the database; ``answer.msg`` says why it did not come to that, or failed."""
    request = ready.request
    try:
        with take(ready.way, request.app, ready.version_table, request.lock_wait_seconds, tell) as lock:
            answer.lock = Wait(lock.waited_seconds, [Holder(**vars(each)) for each in lock.holders])
            if lock.holders:
                answer.warn(f"Waited {lock.waited_seconds:g} s for {'; '.join(map(str, lock.holders))}.")
            try:
                work(lock)
            except driver().Error as error:
                raise lock.failed(error) from None
    except Refused as refused:
        answer.refuse(refused.problem)


def save(ready: Ready, answer: Answer, lock: Lock) -> None:
    """Back the database up.

    :raises Refused: where that fails, since without it nothing is changed.
    """
    request = ready.request
    lock.enter("backup")
    made = backup.make(
        ready.way,
        mode=request.backup,
        directory=request.backup_dir,
        app=request.app,
        heads=ready.plan.rows,
        keep=request.backup_keep,
        bin_dir=request.postgresql_bin_dir,
    )
    answer.backup = Backup(made.file, made.size, made.sha256, made.seconds, made.mode, list(made.pruned))
    answer.warn(*made.warnings)


def look_afterwards(ready: Ready, answer: Answer, what: str) -> Observation | None:
    """Look again and bring ``answer`` up to date; None, and ``answer.msg`` says so, where that is not possible.

    The database is asked, not the process: only what the version table says afterwards counts.

    :param what: what was done, to begin a sentence with.
    """
    after = look(ready.request)
    if after.plan is None or after.graph is None:
        reason = after.problems[0].cause if after.problems else ""
        answer.msg = f"{what}, but the database cannot be looked at afterwards: {reason}"
        return None
    bring_up_to_date(answer, after)
    answer.changed = after.plan.rows != ready.plan.rows
    return after


def bring_up_to_date(answer: Answer, now: Observation) -> None:
    """Take over where code and database are now."""
    fresh = report.answer(now)
    for name in ("state", "heads", "current_after", "branches", "todo", "summary"):
        setattr(answer, name, getattr(fresh, name))
    answer.warn(*fresh.warnings)
