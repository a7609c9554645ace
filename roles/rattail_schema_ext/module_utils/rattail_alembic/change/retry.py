# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A migration that is tried again, whole, when it did not get a lock in time."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from ..migration import runner
from ..migration.child import QUIET, Event, Outcome
from ..migration.guard import left_unseen, told_of_committed
from ..migration.job import Job
from ..observe.answer import Blocker
from ..postgres.connection import connect, driver
from ..postgres.limits import RETRYABLE
from ..postgres.lock import Lock
from ..postgres.url import Target
from ..problem import Refused

_HEARTBEAT_SECONDS = 5.0
_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0

_BLOCKERS = """
select pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(host(client_addr), ''), coalesce(state, ''),
round(extract(epoch from clock_timestamp() - xact_start))::int
from pg_stat_activity where pid = any (pg_blocking_pids(%s)) order by xact_start
"""


@dataclass
class Attempts:
    """What came of it: the last child's outcome, how often it was tried again, and who was in the way last.

    Among the outcome's events are those of revisions that an earlier child committed.
    """

    outcome: Outcome
    retries: int = 0
    blockers: list[Blocker] = field(default_factory=list)

    @property
    def left(self) -> list[Event]:
        """The ``left`` events: what was committed before its time."""
        return [event for event in self.outcome.events if event["event"] == "left"]

    @property
    def seconds(self) -> dict[str, float]:
        """Revision → the seconds that it took, of those that ran to their end."""
        return {event["revision"]: event["seconds"] for event in self.outcome.events if event["event"] == "applied"}


def run(job: Job, lock: Lock, retries: int) -> Attempts:
    """Run the migration, and up to ``retries`` times again after a lock timeout or a deadlock.

    Each time the transaction has been rolled back, and the app is loaded anew. What stands of an earlier attempt are
    revisions that had a transaction of their own (``transaction_per_migration``). A run that has left its
    transaction is never tried again.

    :raises Refused: where the lock was lost; the child has been ended by then.
    """
    attempts = Attempts(Outcome())
    committed: list[Event] = []
    while True:
        watch = _Watch(lock, job.redirect or job.target)
        try:
            attempts.outcome = runner.migrate(job, watch.listen)
        finally:
            watch.close()
        lock.enter("looks")
        if not job.rehearsal:
            with lock.connection.cursor() as cursor:
                unseen = left_unseen(cursor, attempts.outcome)
            attempts.outcome.events += [unseen] if unseen else []
        attempts.blockers = watch.blockers or attempts.blockers
        error = attempts.outcome.error
        if error is None or error["sqlstate"] not in RETRYABLE or attempts.left or attempts.retries >= retries:
            attempts.outcome.events[:0] = committed
            return attempts
        if not job.rehearsal:
            with lock.connection.cursor() as cursor:
                committed += told_of_committed(cursor, attempts.outcome)
        attempts.retries += 1
        lock.enter(f"retries ({attempts.retries})")
        longest = min(2.0 ** (attempts.retries - 2), _LONGEST_PAUSE_SECONDS)
        time.sleep(random.uniform(longest / 2, longest))


class _Watch:
    """Listens to a migrating child: tells on the lock what is being done, and sees who stands in the way.

    Who that is can only be seen while it waits, so a second connection looks as soon as a revision takes long.
    """

    def __init__(self, lock: Lock, target: Target) -> None:
        self.blockers: list[Blocker] = []
        self._lock = lock
        self._target = target
        self._pid = 0
        self._phase = self._told = "begins"
        self._connection: Any = None
        self._heard = self._beat = self._looked = time.monotonic()

    def listen(self, event: Event) -> None:
        now = time.monotonic()
        if event is not QUIET:
            self._heard = now
        if event["event"] == "connected":
            self._pid = event["pid"]
        elif event["event"] == "applying":
            self._phase = event["revision"]
            # Of many that are quick, nobody who waits could read each.
            if now - self._beat >= _LOOK_SECONDS:
                self._tell(now)
        elif event is QUIET:
            if self._phase != self._told or now - self._beat >= _HEARTBEAT_SECONDS:
                self._tell(now)
            if self._pid and now - self._heard >= _PATIENCE_SECONDS and now - self._looked >= _LOOK_SECONDS:
                self._look(now)

    def _tell(self, now: float) -> None:
        self._beat, self._told = now, self._phase
        self._lock.enter(self._phase)

    def _look(self, now: float) -> None:
        self._looked = now
        try:
            self._connection = self._connection or connect(self._target)
            with self._connection.cursor() as cursor:
                cursor.execute(_BLOCKERS, (self._pid,))
                found = [Blocker(*row) for row in cursor.fetchall()]
        except (driver().Error, Refused):
            # It only serves to tell more; the migration does not depend on it.
            self._connection = None
            return
        self.blockers = found or self.blockers

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
