# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A migration that is tried again, whole, when it did not get a lock in time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ..migration import runner
from ..migration.child import QUIET, Event, Outcome
from ..migration.job import Job
from ..observe.answer import Blocker, Rows, Violation
from ..postgres import driver
from ..postgres.connection import RETRYABLE, connect
from ..postgres.connection import run as ask
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
    """The last child's outcome, how often the migration was tried again, and which sessions blocked it last.

    Among the outcome's events are those of revisions that an earlier child committed.
    """

    outcome: Outcome
    retries: int = 0
    blockers: list[Blocker] = field(default_factory=list)

    def every(self, name: str) -> list[Event]:
        """The events of that name."""
        return [event for event in self.outcome.events if event["event"] == name]

    def seconds(self, revisions: Iterable[str]) -> dict[str, float | None]:
        """For each of ``revisions`` the seconds that it took; None where it did not run to its end."""
        took = {event["revision"]: event["seconds"] for event in self.every("applied")}
        return {name: took.get(name) for name in revisions}

    @property
    def violations(self) -> list[Violation]:
        """What the guard reported that the policy forbids."""
        return [Violation(**each) for event in self.every("violations") for each in event["violations"]]

    @property
    def data(self) -> list[Rows]:
        """The rows of others' tables that the guard reported, of each revision what it reported last."""
        last = {event["revision"]: event["tables"] for event in self.every("data")}
        return [Rows(**each) for tables in last.values() for each in tables]


def run(job: Job, lock: Lock, retries: int) -> Attempts:
    """Run the migration, and up to ``retries`` times again after a lock timeout or a deadlock.

    Each time the transaction has been rolled back, and a new child loads the app. Only revisions that had a
    transaction of their own (``transaction_per_migration``) stay of an earlier attempt. A run that has left its
    transaction is never tried again.

    :raises Refused: where the lock was lost; the child has been ended by then.
    """
    attempts = Attempts(Outcome())
    committed: list[Event] = []
    while True:
        with closing(_Watch(lock, job.redirect or job.target)) as watch:
            attempts.outcome = outcome = runner.migrate(job, watch.listen)
        lock.enter("looks")
        attempts.blockers = watch.blockers or attempts.blockers
        with lock.connection.cursor() as cursor:
            unseen = None if job.rehearsal else _left_unseen(cursor, outcome)
            outcome.events += [unseen] if unseen else []
            code = outcome.error["sqlstate"] if outcome.error else ""
            if code not in RETRYABLE or attempts.every("left") or attempts.retries >= retries:
                outcome.events[:0] = committed
                return attempts
            committed += [] if job.rehearsal else _told_of_committed(cursor, outcome)
        attempts.retries += 1
        lock.enter(f"retries ({attempts.retries})")
        longest = min(2.0 ** (attempts.retries - 2), _LONGEST_PAUSE_SECONDS)
        time.sleep(random.uniform(longest / 2, longest))


def _left_unseen(cursor: Any, outcome: Outcome) -> Event | None:
    """The ``left`` event of a revision that failed after a COMMIT of its own, and so before anybody noticed that."""
    begun = outcome.unfinished
    if begun is None:
        return None
    told = {event["event"]: event for event in outcome.events if event.get("revision") == begun["revision"]}
    if "began" not in told or "left" in told or not is_committed(cursor, told["began"]["transaction"]):
        return None
    return {"event": "left", "revision": begun["revision"], "how": "COMMIT", "found": told["began"]["found"]}


def _told_of_committed(cursor: Any, outcome: Outcome) -> list[Event]:
    """What a run that failed has told of each revision that it had committed by then."""
    began = [event for event in outcome.events if event["event"] == "began"]
    committed = [event["revision"] for event in began if is_committed(cursor, event["transaction"])]
    return [event for event in outcome.events if event.get("revision") in committed]


def is_committed(cursor: Any, transaction: int) -> bool:
    """Whether the ``transaction`` of a ``began`` event was committed, asked in another session."""
    return ask(cursor, "select txid_status(%s::bigint)", (transaction,)) == [("committed",)]


class _Watch:
    """Listens to a migrating child: says on the lock what is being done, and sees which sessions block it.

    Those can only be seen while it waits, so a second connection looks as soon as a revision takes long.
    """

    def __init__(self, lock: Lock, target: Target) -> None:
        self.blockers: list[Blocker] = []
        self._lock = lock
        self._target = target
        self._pid = 0
        self._phase = self._shown = "begins"
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
        # Nobody could read each of many quick ones.
        if now - self._beat >= (_HEARTBEAT_SECONDS if self._phase == self._shown else _LOOK_SECONDS):
            self._beat, self._shown = now, self._phase
            self._lock.enter(self._phase)
        if self._pid and now - self._heard >= _PATIENCE_SECONDS and now - self._looked >= _LOOK_SECONDS:
            self._look()
            self._looked = now

    def _look(self) -> None:
        try:
            self._connection = self._connection or connect(self._target)
            with self._connection.cursor() as cursor:
                found = ask(cursor, _BLOCKERS, (self._pid,))
        except driver.errors(Refused):
            # The migration does not depend on it.
            self._connection = None
        else:
            self.blockers = [Blocker(*row) for row in found] or self.blockers

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
