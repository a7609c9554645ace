# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done around each revision while it runs, on its own connection and inside its own transaction.

It knows nothing of Alembic: it is handed cursors, and told when a revision begins and ends.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
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
_TAKE_IT_FROM_THE_CONFIG = "Have it take the database from the app's config file, as Rattail's own does."


class Rehearsed(Exception):
    """A rehearsal came to its end: now everything is to be rolled back."""


class Unrehearsable(Exception):
    """A revision leaves its transaction, which no rehearsal in a transaction can show."""


class Guard:
    """Watches over one run of ``env.py``, and reports what it sees as events."""

    def __init__(self, job: Job, report: Report) -> None:
        self.beside = Beside()
        self.statements = Statements(bounded=not job.rehearsal)
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

    def settle(self, connection: Any) -> None:
        """Give a connection its settings before its first transaction, so that no rollback takes them back.

        One that a pooler may give to somebody else next is left as it is.
        """
        if getattr(connection, "async_", 0):
            if self.beside.confined:
                connection.close()
                raise RuntimeError("it opened an asynchronous connection, which cannot be kept from writing")
            return
        if self._job.unpooled and _is_pooled(connection):
            self.beside.add_unseen()
            return
        settings = self._job.limits.settings(connection.info.server_version)
        settings["application_name"] = application_name(self._job.app, "begins")
        if self._job.rehearsal == TRANSACTION:
            # A ROLLBACK of a revision's own takes the poison with it. What follows can write no more, since
            # only transactions that the driver begins may, and on other connections not even these.
            settings["default_transaction_read_only"] = "on"
        with plain_cursor(connection) as cursor:
            limits.put(cursor, settings)
        connection.commit()
        if self._job.rehearsal == TRANSACTION:
            connection.set_session(readonly=self._begun)
        self.beside.add(connection)

    def hear(self, connection: Any, text: str) -> None:
        """A statement is about to be executed on a connection of the app's: see :meth:`WrittenRows.hear`."""
        if self._rows is not None:
            self._rows.hear(connection, text)

    def begin(self, cursor: Any) -> None:
        """Refuse another database than the right one, and one that does not keep to the settings."""
        job = self._job
        if job.unpooled and _is_pooled(cursor.connection):
            raise Refused(
                "env_pooled",
                "The app's env.py connects through a pooler, where locks and timeouts would be lost.",
                "Have it take the database from the app's config file, as Rattail's own does, "
                "or lead its own URL to the PostgreSQL server itself.",
            )
        [(database, pid)] = run(cursor, "select current_database(), pg_backend_pid()")
        if database != job.database:
            cause = f"The app's env.py connects to {database!r}, not to {job.database!r}."
            raise Refused("database_other", cause, _TAKE_IT_FROM_THE_CONFIG)
        if job.rehearsal == CLONE and job.redirect is not None:
            with _our_cursor(job.redirect) as other:
                if run(other, WHICH) != run(cursor, WHICH):
                    cause = "The app's env.py does not connect to the copy that the upgrade is rehearsed on."
                    raise Refused("rehearsal_elsewhere", cause, _TAKE_IT_FROM_THE_CONFIG)
        self._begun = True
        self._settings = job.limits.settings(cursor.connection.info.server_version)
        limits.ensure(cursor, self._settings)
        self._report({"event": "connected", "pid": pid})
        if job.rehearsal == TRANSACTION:
            cursor.execute(_POISON)

    def before(self, cursor: Any, revision: str) -> None:
        """A revision is about to run. One that is not free may write on its own connection only."""
        job = self._job
        self._revision, self._left = revision, False
        self._put(cursor)
        [(self._transaction,)] = run(cursor, "select txid_current()")
        if revision in job.prefixes and (job.policy != OFF or revision in job.leaving):
            # What the last revision left is what this one finds.
            self._catalog = self._catalog or catalog.snapshot(cursor)
        else:
            self._catalog = None
        confine = job.rehearsal == TRANSACTION or (revision in job.prefixes and job.policy == ENFORCE)
        # Everywhere, since what is written past a copy would be in earnest.
        self.beside.begin(cursor, confine=confine, everywhere=bool(job.rehearsal), watch=self._catalog is not None)
        self.statements.take()
        found = self._found() if revision in job.leaving else ""
        self._tell("began", transaction=self._transaction, found=found, confined=confine)
        if self._catalog is not None and job.policy != OFF:
            refuse = job.policy == ENFORCE and job.policy_data == REFUSE
            prefixes = job.prefixes[revision]
            self._rows = WrittenRows(cursor.connection, revision, prefixes, self._report, refuse=refuse)

    def after(self, cursor: Any) -> None:
        """The revision has run; its version row is not written yet. Raises Violated or WritesOutside."""
        rows, self._rows = self._rows, None
        unheard = self._see_transaction(cursor)
        if rows is not None:
            rows.end(unheard=unheard)
            self._judge(cursor, rows)
        self.beside.end(free=self._job.rehearsal != TRANSACTION)
        if self._job.rehearsal:
            locks = set(run(cursor, _LOCKS))
            taken = [f"{mode} on {table}" for table, mode in sorted(locks - self._locks)]
            self._locks = locks if not self._left else set()
            self._tell("rehearsed", sql=self.statements.take(), locks=taken)
        elif self._job.record:
            self._tell("executed", sql=self.statements.take())

    def end(self, cursor: Any) -> None:
        """What comes next is the COMMIT: not of a rehearsal, nor where the lock was lost and others may migrate."""
        if self._job.rehearsal == TRANSACTION:
            raise Rehearsed("the rehearsal came to its end")
        if self._job.lock_pid and not run(cursor, _LOCK_HELD, (self._job.lock_pid,))[0][0]:
            raise lock_lost("the server does not show its lock any more")

    @contextmanager
    def outside(self, block: AbstractContextManager[None], cursor: Callable[[], Any]) -> Iterator[None]:
        """Around a ``block`` in which a revision goes on outside of any transaction (``autocommit_block``).

        :param cursor: gives one in whatever transaction there is then.
        :raises Unrehearsable: where nothing may be committed, or Violated where what it has written is refused.
        """
        if self._job.rehearsal == TRANSACTION:
            raise Unrehearsable(f"revision {self._revision} leaves its transaction (autocommit_block)")
        if self._rows is not None:
            self._rows.leave()
        self._tell_left("autocommit_block", self._found())
        with block:
            # A lock timeout would leave an invalid index behind (CREATE INDEX CONCURRENTLY).
            self._put(cursor(), lock_timeout="0")
            yield
        self._put(cursor())
        if self._rows is not None:
            self._rows.begin()

    def _put(self, cursor: Any, **other: str) -> None:
        """SET the settings once more, and a name that says which revision runs."""
        name = application_name(self._job.app, self._revision)
        limits.put(cursor, {**self._settings, "application_name": name, **other})

    def _tell(self, event: str, **facts: Any) -> None:
        self._report({"event": event, "revision": self._revision, **facts})

    def _tell_left(self, how: str, found: str) -> None:
        self._left = True
        self._tell("left", how=how, found=found)

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
        state = "select txid_current_if_assigned(), txid_status(%s::bigint)"
        [(now, before)] = run(cursor, state, (self._transaction,))
        if now == self._transaction:
            return False
        if before != "committed":
            # Earlier revisions are undone with it, and what came after it has committed by itself.
            self._tell_left("ROLLBACK", "")
            raise RuntimeError("it ended its transaction with a ROLLBACK of its own")
        self._tell_left("COMMIT", self._found())
        return True

    def _judge(self, cursor: Any, rows: WrittenRows) -> None:
        """Hold what the revision did against the policy."""
        job, revision, before = self._job, self._revision, self._catalog
        assert before is not None
        now = self._catalog = catalog.snapshot(cursor)
        prefixes = job.prefixes[revision]
        changes, replaced = difference(before, now), rewritten(before, now)
        found = rules.violations(revision, changes, prefixes)
        suspect = found or rules.data_report([], replaced, prefixes)
        if suspect and job.catalog is not None and not self._left:
            # What another session sees as well was committed by one.
            with _our_cursor(job.redirect or job.target) as other:
                elsewhere = (job.catalog, catalog.snapshot(other))
            ours, others = made_by_others(changes, now, *elsewhere)
            beside = self.beside.worked(cursor)
            if others:
                self._tell("others", objects=[change.identity for change in others], beside=beside)
            # Nobody can say which of them it was.
            if not beside:
                found, replaced = rules.violations(revision, ours, prefixes), rewritten(before, now, elsewhere)
        refused = rows.judge(replaced)
        if found:
            self._tell("violations", violations=found)
        if refused or (found and job.policy == ENFORCE):
            raise Violated(f"revision {revision} is against the policy")


@contextmanager
def _our_cursor(target: Target) -> Iterator[Any]:
    """A cursor of another session, which is not the app's."""
    with our_own():
        connection = connect(target)
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def _is_pooled(connection: Any) -> bool:
    """Whether who answers is not who let us in: a pooler is between. It leaves no transaction open that was not."""
    idle = connection.info.transaction_status == IDLE
    with plain_cursor(connection) as cursor:
        [(pid,)] = run(cursor, "select pg_backend_pid()")
    if idle:
        connection.rollback()
    return bool(pid != connection.info.backend_pid)


def left_unseen(cursor: Any, outcome: Outcome) -> Event | None:
    """The ``left`` event of a revision that failed after a COMMIT of its own, and so before anybody noticed that."""
    begun = outcome.unfinished
    if begun is None:
        return None
    told = {event["event"]: event for event in outcome.events if event.get("revision") == begun["revision"]}
    if "began" not in told or "left" in told or not _committed(cursor, told["began"]):
        return None
    return {"event": "left", "revision": begun["revision"], "how": "COMMIT", "found": told["began"]["found"]}


def told_of_committed(cursor: Any, outcome: Outcome) -> list[Event]:
    """What a run that failed has told of each revision that it had committed by then."""
    began = [event for event in outcome.events if event["event"] == "began"]
    committed = [event["revision"] for event in began if _committed(cursor, event)]
    return [event for event in outcome.events if event.get("revision") in committed]


def _committed(cursor: Any, began: Event) -> bool:
    """Whether the transaction that a revision began in was committed, asked in another session."""
    return run(cursor, "select txid_status(%s::bigint)", (began["transaction"],)) == [("committed",)]


def as_found(left: Event) -> Catalog | None:
    """The catalog as the revision of a ``left`` event found it, where it is known."""
    # The child is our own fork, and what it says has come over a pipe that nobody else has.
    found: Catalog | None = pickle.loads(base64.b64decode(left["found"])) if left["found"] else None
    return found


_CHARACTERS = 2_000
_OF_A_REVISION = 20_000
_OF_ALL = 200_000


class Statements:
    """The statements of one revision after another. With ``bounded`` long ones are cut, and too many are counted."""

    def __init__(self, *, bounded: bool) -> None:
        self._bounded = bounded
        self._kept: list[str] = []
        self._more = 0
        self._left = _OF_ALL
        self._room = _OF_A_REVISION

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
