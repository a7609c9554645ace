# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done around each revision while it runs, on its own connection and inside its own transaction.

It knows nothing of Alembic: it is handed cursors, and told when a revision begins and ends.
"""

from __future__ import annotations

import base64
import pickle
from typing import Any

from ..policy import rules
from ..postgres import catalog, limits
from ..postgres.catalog import Catalog
from ..postgres.catalog_changes import difference, made_by_others, rewritten
from ..postgres.connection import application_name, connect, run
from ..postgres.lock import lock_lost
from ..postgres.url import Target
from ..problem import Refused, mask
from .child import Event, Outcome, Report
from .connect_hook import our_own, plain_cursor
from .job import CLONE, ENFORCE, OFF, POISONED, REFUSE, TRANSACTION, Job
from .other_connections import IDLE, WHICH, Beside
from .written_rows import Violated, WrittenRows

_POISON = f"""
create temporary table rattail_schema_ext_rehearsal ({POISONED} integer unique deferrable initially deferred);
insert into rattail_schema_ext_rehearsal values (1), (1);
"""
_LOCKS = """
select c.oid::regclass::text, l.mode from pg_locks l join pg_class c on c.oid = l.relation
where l.pid = pg_backend_pid() and l.granted and l.mode not in ('AccessShareLock', 'RowShareLock')
and c.relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_|^information_schema$')
"""
_LOCK_HELD = "select exists (select from pg_locks where locktype = 'advisory' and granted and pid = %s)"


class Rehearsed(Exception):
    """A rehearsal came to its end: now everything is to be rolled back."""


class Unrehearsable(Exception):
    """A revision leaves its transaction, which no rehearsal in a transaction can show."""


class Guard:
    """Watches over one run of ``env.py``, and reports what it sees as events."""

    def __init__(self, job: Job, report: Report) -> None:
        self._job = job
        self._report = report
        self._revision = ""
        self._settings: dict[str, str] = {}
        self._begun = False
        self._transaction = 0
        self._left = False
        self._catalog: Catalog | None = None
        self._rows: WrittenRows | None = None
        self._locks: set[tuple[str, str]] = set()
        self._statements = Statements(bounded=not job.rehearsal)
        self._migrating: Any = None
        self._beside = Beside()

    def settle(self, connection: Any) -> None:
        """Give a connection its settings before its first transaction, so that no rollback takes them back.

        One that a pooler may give to somebody else next is left as it is.
        """
        if getattr(connection, "async_", 0):
            if self._beside.confined:
                connection.close()
                raise RuntimeError("it opened an asynchronous connection, which cannot be kept from writing")
            return
        if self._job.unpooled and _is_pooled(connection):
            self._beside.add_unseen()
            return
        settings = self._job.limits.settings(connection.info.server_version)
        settings["application_name"] = application_name(self._job.app, "begins")
        with plain_cursor(connection) as cursor:
            limits.put(cursor, settings)
            if self._job.rehearsal == TRANSACTION:
                # A ROLLBACK of a revision's own takes the poison with it. What follows can write no more, since
                # only transactions that the driver begins may, and on other connections not even these.
                limits.put(cursor, {"default_transaction_read_only": "on"})
        connection.commit()
        if self._job.rehearsal == TRANSACTION:
            connection.set_session(readonly=self._begun)
        self._beside.add(connection)

    def see(self, connection: Any) -> None:
        """A connection of the app's is about to be used."""
        self._beside.see(connection)

    def hear(self, connection: Any, text: str) -> None:
        """A statement is about to be executed on a connection of the app's: see :meth:`WrittenRows.hear`."""
        if self._rows is not None and connection is self._migrating:
            self._rows.hear(connection, text)

    def begin(self, cursor: Any) -> None:
        """See that this is the right database, and that it keeps to the settings.

        :raises Refused: where one of both is not so.
        """
        if self._job.unpooled and _is_pooled(cursor.connection):
            raise Refused(
                "env_pooled",
                "The app's env.py connects through a pooler, where locks and timeouts would be lost.",
                "Have it take the database from the app's config file, as Rattail's own does, "
                "or lead its own URL to the PostgreSQL server itself.",
            )
        [(database, pid)] = run(cursor, "select current_database(), pg_backend_pid()")
        if database != self._job.database:
            raise Refused(
                "database_other",
                f"The app's env.py connects to {database!r}, not to {self._job.database!r}.",
                "Have it take the database from the app's config file, as Rattail's own does.",
            )
        if self._job.rehearsal == CLONE and self._job.redirect is not None:
            self._ensure_copy(cursor, self._job.redirect)
        self._begun = True
        self._settings = self._job.limits.settings(cursor.connection.info.server_version)
        limits.ensure(cursor, self._settings)
        self._report({"event": "connected", "pid": pid})
        if self._job.rehearsal == TRANSACTION:
            cursor.execute(_POISON)

    def before(self, cursor: Any, revision: str) -> None:
        """A revision is about to run.

        One that is not free may write on its own connection only: what it commits on another is neither undone
        with it nor told from what other sessions do.
        """
        self._revision, self._left = revision, False
        name = application_name(self._job.app, revision)
        limits.put(cursor, {**self._settings, "application_name": name})
        [(self._transaction,)] = run(cursor, "select txid_current()")
        if revision in self._job.prefixes and (self._job.policy != OFF or revision in self._job.leaving):
            # What the last revision left is what this one finds.
            self._catalog = self._catalog or catalog.snapshot(cursor)
        else:
            self._catalog = None
        confine = self._job.rehearsal == TRANSACTION or (revision in self._job.prefixes and self._job.policy == ENFORCE)
        # What is written past a copy would be in earnest.
        everywhere = bool(self._job.rehearsal)
        self._beside.begin(cursor, confine=confine, everywhere=everywhere, watch=self._catalog is not None)
        self._statements.take()
        found = self._found() if revision in self._job.leaving else ""
        began = {"event": "began", "revision": revision, "transaction": self._transaction, "found": found}
        self._report({**began, "confined": confine})
        self._migrating = cursor.connection
        if self._catalog is not None and self._job.policy != OFF:
            refuse = self._job.policy == ENFORCE and self._job.policy_data == REFUSE
            self._rows = WrittenRows(cursor, revision, self._job.prefixes[revision], self._report, refuse=refuse)

    def after(self, cursor: Any, revision: str) -> None:
        """A revision has run; its version row is not written yet.

        :raises Violated: where the policy is enforced and it did what it must not, or :class:`WritesOutside`.
        """
        rows, self._rows, self._migrating = self._rows, None, None
        unheard = self._see_transaction(cursor)
        if rows is not None:
            rows.end(cursor, unheard=unheard)
            self._judge(cursor, revision, rows)
        self._beside.end(free=self._job.rehearsal != TRANSACTION)
        if self._job.rehearsal:
            locks = set(run(cursor, _LOCKS))
            taken = [f"{mode} on {table}" for table, mode in sorted(locks - self._locks)]
            self._locks = locks if not self._left else set()
            self._report({"event": "rehearsed", "revision": revision, "sql": self._statements.take(), "locks": taken})
        elif self._job.record:
            self._report({"event": "executed", "revision": revision, "sql": self._statements.take()})

    def end(self, cursor: Any) -> None:
        """Every revision has run; what comes next is the COMMIT.

        :raises Rehearsed: where this was a rehearsal in a transaction.
        :raises Refused: where the lock was lost, and somebody else may be migrating.
        """
        if self._job.rehearsal == TRANSACTION:
            raise Rehearsed("the rehearsal came to its end")
        if self._job.lock_pid and not run(cursor, _LOCK_HELD, (self._job.lock_pid,))[0][0]:
            raise lock_lost("the server does not show its lock any more")

    def statement(self, text: str) -> None:
        """A statement is about to be executed."""
        self._statements.add(text)

    def leave(self) -> None:
        """A revision is about to commit, and to go on outside of any transaction (``autocommit_block``).

        :raises Unrehearsable: where nothing may be committed.
        :raises Violated: where what it has written is refused.
        """
        if self._job.rehearsal == TRANSACTION:
            raise Unrehearsable(f"revision {self._revision} leaves its transaction (autocommit_block)")
        if self._rows is not None:
            self._rows.leave(self._migrating)
        self._tell_left("autocommit_block", self._found())

    def outside(self, cursor: Any) -> None:
        """It is outside: a lock timeout would leave an invalid index behind (CREATE INDEX CONCURRENTLY)."""
        limits.put(cursor, {**self._settings, "lock_timeout": "0", "application_name": self._name})

    def back(self, cursor: Any) -> None:
        """It is in a transaction again."""
        limits.put(cursor, {**self._settings, "application_name": self._name})
        if self._rows is not None:
            self._rows.begin(cursor)

    @property
    def _name(self) -> str:
        return application_name(self._job.app, self._revision)

    def _ensure_copy(self, cursor: Any, copy: Target) -> None:
        with our_own():
            connection = connect(copy)
        try:
            with connection.cursor() as other:
                alike = run(other, WHICH) == run(cursor, WHICH)
        finally:
            connection.close()
        if not alike:
            raise Refused(
                "rehearsal_elsewhere",
                "The app's env.py does not connect to the copy that the upgrade is rehearsed on.",
                "Have it take the database from the app's config file, as Rattail's own does.",
            )

    def _tell_left(self, how: str, found: str) -> None:
        self._left = True
        self._report({"event": "left", "revision": self._revision, "how": how, "found": found})

    def _found(self) -> str:
        """The catalog as the revision found it, for :func:`as_found`: it tells what earlier ones made."""
        return base64.b64encode(pickle.dumps(self._catalog)).decode() if self._catalog else ""

    def _see_transaction(self, cursor: Any) -> bool:
        """Notice a COMMIT or ROLLBACK of the revision's own, of which the driver knows nothing; whether it was one."""
        if self._left:
            return False
        if cursor.connection.info.transaction_status == IDLE:
            # The driver believes in a transaction; without one all that follows would commit by itself.
            cursor.execute("begin")
        [(now, before)] = run(
            cursor, "select txid_current_if_assigned(), txid_status(%s::bigint)", (self._transaction,)
        )
        if now == self._transaction:
            return False
        if before != "committed":
            # Earlier revisions are undone with it, and what came after it has committed by itself.
            self._tell_left("ROLLBACK", "")
            raise RuntimeError("it ended its transaction with a ROLLBACK of its own")
        self._tell_left("COMMIT", self._found())
        return True

    def _judge(self, cursor: Any, revision: str, rows: WrittenRows) -> None:
        """Hold what the revision did against the policy.

        :raises Violated: where it is enforced.
        """
        job, before = self._job, self._catalog
        assert before is not None
        now = self._catalog = catalog.snapshot(cursor)
        prefixes = job.prefixes[revision]
        changes = difference(before, now)
        replaced = rewritten(before, now)
        suspect = rules.violations(revision, changes, prefixes) or rules.data_report([], replaced, prefixes)
        if suspect and job.catalog is not None and not self._left:
            # What another session sees as well was committed by one.
            elsewhere = (job.catalog, self._seen_elsewhere())
            ours, others = made_by_others(changes, now, *elsewhere)
            beside = self._beside.worked(cursor)
            if others:
                names = [change.identity for change in others]
                self._report({"event": "others", "revision": revision, "objects": names, "beside": beside})
            # Nobody can say which of them it was.
            if not beside:
                changes, replaced = ours, rewritten(before, now, elsewhere)
        found = rules.violations(revision, changes, prefixes)
        refused = rows.judge(replaced)
        if found:
            self._report({"event": "violations", "violations": found})
        if refused or (found and job.policy == ENFORCE):
            raise Violated(f"revision {revision} is against the policy")

    def _seen_elsewhere(self) -> Catalog:
        with our_own():
            connection = connect(self._job.redirect or self._job.target)
        try:
            with connection.cursor() as cursor:
                return catalog.snapshot(cursor)
        finally:
            connection.close()


def _is_pooled(connection: Any) -> bool:
    """Whether who answers is not who let us in: a pooler is between. It leaves no transaction open that was not."""
    idle = connection.info.transaction_status == IDLE
    with plain_cursor(connection) as cursor:
        [(pid,)] = run(cursor, "select pg_backend_pid()")
    if idle:
        connection.rollback()
    return bool(pid != connection.info.backend_pid)


def left_unseen(cursor: Any, outcome: Outcome) -> Event | None:
    """The ``left`` event of a revision that failed after a COMMIT of its own, and so before anybody noticed that.

    :param cursor: of another session of the same database.
    """
    begun, began = outcome.unfinished, outcome.last("began")
    if begun is None or began is None or began["revision"] != begun["revision"]:
        return None
    if any(event["event"] == "left" and event["revision"] == begun["revision"] for event in outcome.events):
        return None
    [(status,)] = run(cursor, "select txid_status(%s::bigint)", (began["transaction"],))
    if status != "committed":
        return None
    return {"event": "left", "revision": begun["revision"], "how": "COMMIT", "found": began["found"]}


def told_of_committed(cursor: Any, outcome: Outcome) -> list[Event]:
    """What a run that failed has told of each revision that it had committed by then.

    :param cursor: of another session of the same database.
    """
    turns: list[list[Event]] = []
    for event in outcome.events:
        if event["event"] == "applying":
            turns.append([])
        if turns:
            turns[-1].append(event)
    found = []
    for turn in turns:
        transactions = [event["transaction"] for event in turn if event["event"] == "began"]
        if transactions and run(cursor, "select txid_status(%s::bigint)", transactions) == [("committed",)]:
            found += turn
    return found


def as_found(left: Event) -> Catalog | None:
    """The catalog as the revision of a ``left`` event found it, where it is known."""
    # The child is our own fork, and what it says has come over a pipe that nobody else has.
    found: Catalog | None = pickle.loads(base64.b64decode(left["found"])) if left["found"] else None
    return found


_CHARACTERS = 2_000
_OF_A_REVISION = 20_000
_OF_ALL = 200_000


class Statements:
    """Takes statements as they come, and gives those of one revision after another.

    :param bounded: whether a long statement is cut, and what is too much is only counted.
    """

    def __init__(self, *, bounded: bool) -> None:
        self._bounded = bounded
        self._kept: list[str] = []
        self._more = 0
        self._left = _OF_ALL
        self._room = min(_OF_A_REVISION, self._left)

    def add(self, text: str) -> None:
        """A statement is executed."""
        # masked before it is cut, since half a password is one, too
        words = mask(" ".join(text.split()))
        if self._bounded:
            words = words if len(words) <= _CHARACTERS else f"{words[:_CHARACTERS]} …"
            if self._more or len(words) > self._room:
                self._more += 1
                return
            self._room -= len(words)
            self._left -= len(words)
        self._kept.append(words)

    def take(self) -> list[str]:
        """Those since the last time; in place of what is left out, a comment says how many there were."""
        found = self._kept + ([f"-- and {self._more} more"] if self._more else [])
        self._kept, self._more = [], 0
        self._room = min(_OF_A_REVISION, self._left)
        return found
