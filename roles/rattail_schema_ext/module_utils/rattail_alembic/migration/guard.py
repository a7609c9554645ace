# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is done around each revision while it runs, on its own connection and inside its own transaction.

It knows nothing of Alembic: it is handed cursors, and told when a revision begins and ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from ..policy import rules
from ..postgres import catalog, driver
from ..postgres.catalog import Catalog
from ..postgres.catalog_changes import difference, made_by_others, rewritten
from ..postgres.connection import PIN, application_name, finish_cursors, first_line, put_settings, run, undone
from ..postgres.contents import quoted
from ..postgres.driver import IDLE, plain_cursor
from ..postgres.lock import lock_lost
from ..problem import Refused
from ..revisions import sql
from .ask_app import TAKE_IT_FROM_THE_CONFIG, database_other
from .child import Report, Statements, packed
from .connect_hook import our_cursor
from .job import ANTIDOTE, CLONE, ENFORCE, OFF, POISON, READ_ONLY, REFUSE, TRANSACTION, Job, Rehearsed, Unrehearsable
from .other_connections import WHICH, Beside, Meanwhile, is_pooled
from .written_rows import VersionRows, Violated, WrittenRows

_LOCKS = """
select c.oid::regclass::text, l.mode from pg_locks l join pg_class c on c.oid = l.relation
where l.pid = pg_backend_pid() and l.granted and l.mode not in ('AccessShareLock', 'RowShareLock')
and c.relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_|^information_schema$')
"""
_SESSION = """
select pg_catalog.current_database(), pg_catalog.pg_backend_pid(), pg_catalog.current_setting('role'),
  (select r.rolname from pg_catalog.pg_roles r where r.rolname = session_user and r.rolsuper)
"""
_RUN_DEFERRED = "set constraints all immediate"
_DEFERS = "select exists (select from pg_catalog.pg_trigger where tgdeferrable and not tgisinternal)"
# as Alembic writes a version row
_VERSION_ROW = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\S+) [^;]*")
_LOCK_HELD = "select exists (select from pg_locks where locktype = 'advisory' and granted and pid = %s)"


class Guard:
    """Watches over one run of ``env.py``, and reports what it sees as events."""

    def __init__(self, job: Job, report: Report) -> None:
        self.beside = Beside()
        self.statements = Statements(bounded=not job.rehearsal)
        self.waits_for_commit = False  # whether a revision has asked SQLAlchemy to be called then
        self._job = job
        self._report = report
        self._revision = ""
        self._settings: dict[str, str] = {}
        self._pin = PIN
        self._versions: VersionRows | None = None
        # whether the COMMIT will run something that a look before it could only try
        self._deferring = False
        self._heard, self._begun = 0, False
        self._transaction, self._left = 0, False
        # how a revision was about to leave a transaction that is only rehearsed
        self._leaving = ""
        self._path = ""
        self._meanwhile = Meanwhile(self._committed)
        self._guarded: bool | None = None
        self._catalog: Catalog | None = None
        self._since: catalog.Since | None = None
        self._rows: WrittenRows | None = None
        self._counted: WrittenRows | None = None
        self._migrating: Any = None
        self._locks: set[tuple[str, str]] = set()

    def settle(self, connection: Any) -> None:
        """Give a connection its settings before its first transaction, so that no rollback takes them back.

        One that a pooler may give to somebody else next is left as it is.
        """
        if driver.is_async(connection):
            self.beside.see(connection)
            return
        if self._job.unpooled and is_pooled(connection):
            self.beside.add_unseen()
            return
        settings = self._job.limits.settings(connection.info.server_version)
        settings["application_name"] = application_name(self._job.app, "begins")
        if self._job.rehearsal == TRANSACTION:
            # A ROLLBACK of a revision's own takes the poison with it: only what the driver begins may write then.
            settings["default_transaction_read_only"] = "on"
        with plain_cursor(connection) as cursor:
            put_settings(cursor, settings)
        connection.commit()
        if self._job.rehearsal == TRANSACTION:
            driver.set_read_only(connection, self._begun)
        self.beside.add(connection)

    def hear(self, connection: Any, text: str) -> None:
        """A statement is about to be executed on a connection of the app's: see :meth:`WrittenRows.hear`."""
        if connection and driver.is_busy(connection) and (text == "commit" or sql.ends_transaction(text)):
            raise RuntimeError("it ends a transaction in pipeline mode, in which nobody can look at it before")
        if connection is self._migrating:
            row = _VERSION_ROW.fullmatch(text)
            if text == "commit" and self.waits_for_commit and self._heard and self._counted is not None:
                self._judge(plain_cursor(connection), self._counted)
            self._heard += not (row and self._versions and row[1] == self._versions.name)
            if self._job.rehearsal == TRANSACTION:
                self._leaving = self._leaving or sql.ends_transaction(text)
                self._refuse_leaving()
        if self._rows is not None:
            if sql.ends_transaction(text) == "PREPARE TRANSACTION":
                raise RuntimeError("it prepares a transaction (PREPARE TRANSACTION), which nobody would end")
            self._rows.hear(connection, text)
        if self._meanwhile.hear(text, beside=self._begun and connection is not self._migrating and text != "commit"):
            self._tell("anything")

    def begin(self, cursor: Any, version_table: str, rows: Collection[str]) -> None:
        """Refuse another database than the right one, and one that does not keep to the settings.

        :param version_table: its name in ``env.py``, and ``rows`` those that Alembic has found there.
        """
        job = self._job
        if job.unpooled and is_pooled(cursor.connection):
            raise Refused(
                "env_pooled",
                "The app's env.py connects through a pooler, where locks and timeouts would be lost.",
                "Have it take the database from the app's config file, as Rattail's own does, "
                "or lead its own URL to the PostgreSQL server itself.",
            )
        [(database, pid, role, superuser)] = run(cursor, _SESSION)
        if database != job.database:
            raise database_other(database, job.database)
        if job.rehearsal == CLONE and job.redirect is not None:
            with our_cursor(job.redirect) as other:
                if run(other, WHICH) != run(cursor, WHICH):
                    cause = "The app's env.py does not connect to the copy that the upgrade is rehearsed on."
                    raise Refused("rehearsal_elsewhere", cause, TAKE_IT_FROM_THE_CONFIG)
        self._begun = True
        self._migrating = cursor.connection
        self._versions = VersionRows(cursor, version_table, rows)
        # Only a superuser can be somebody else.
        self._pin += f"; set local session authorization {quoted(superuser)}" if superuser else ""
        self._pin += f"; set local role {role if role == 'none' else quoted(role)}"
        self._settings = job.limits.settings(cursor.connection.info.server_version)
        [(self._path,)] = run(cursor, "select current_setting('search_path')")
        self._report({"event": "connected", "pid": pid})
        if job.rehearsal == TRANSACTION:
            cursor.execute(POISON)

    @contextmanager
    def loading(self, cursor: Any) -> Iterator[None]:
        """Around the import of the revision files, which is to do nothing to the database.

        :raises Refused: where it tries to.
        """
        job, why = self._job, ""
        guarded = job.policy == ENFORCE and not job.prefixes.keys().isdisjoint(job.only)
        confine = guarded or job.rehearsal == TRANSACTION
        self.beside.begin(cursor, confine=confine, everywhere=bool(job.rehearsal), watch=False)
        self._heard = 0
        try:
            yield
            why = "it uses the connection that migrates" if self._heard else ""
        except Exception as error:
            origin = getattr(error, "orig", error)
            if driver.sqlstate(origin) != READ_ONLY:
                raise
            why = f"{type(origin).__name__}: {first_line(str(origin))}"
        self.beside.end(free=job.rehearsal != TRANSACTION)
        if confine and why:
            raise Refused(
                "revision_at_import",
                f"A revision file does something to the database when it is only loaded ({why}).",
                "Move that into its upgrade().",
            )

    def before(self, cursor: Any, revision: str) -> None:
        """A revision is about to run. One that is not free may write on its own connection only."""
        job, guarded = self._job, self._guards(revision)
        last, rows = self._catalog, self._counted
        if not guarded:
            self._catalog = self._counted = None
        self._revision, self._left = revision, False
        self._meanwhile.begin()
        # What an earlier one has set does not lead this one elsewhere.
        before = self._transaction
        [self._transaction] = self._put(cursor, "pg_catalog.txid_current()", search_path=self._path)
        if self._transaction != before or self._heard:
            rows = None
        confine = job.rehearsal == TRANSACTION or (revision in job.prefixes and job.policy == ENFORCE)
        # Everywhere, since what is written past a copy would be in earnest.
        self.beside.begin(cursor, confine=confine, everywhere=bool(job.rehearsal), watch=guarded)
        # What the last revision left is what this one finds.
        with self._look(cursor) if guarded and not (rows and self._catalog) else nullcontext():
            if guarded and self._catalog is None:
                self._since, self._catalog = catalog.now(cursor), catalog.read(cursor)
            if guarded and job.policy != OFF:
                enforce, owns = job.policy == ENFORCE, job.prefixes[revision]
                judged = {"refuse": enforce and job.policy_data == REFUSE, "enforce": enforce}
                self._counted = WrittenRows(
                    cursor.connection, revision, owns, self._report, **judged, other=self._other, last=rows
                )
        found = packed(self._catalog) if revision in job.leaving else ""
        if job.policy != OFF and not job.rehearsal and self._guarded == (not guarded):
            # Where what a free revision may do ends, and where it begins.
            found = packed(self._catalog or last)
        self._guarded = guarded
        self.statements.take()
        self._tell("began", transaction=self._transaction, found=found, confined=confine)
        self._rows = self._counted

    def after(self, cursor: Any) -> None:
        """The revision has run; its version row is not written yet. Raises Violated or WritesOutside."""
        rows, self._rows = self._rows, None
        self._refuse_leaving()
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
        self._heard = 0

    def written(self, cursor: Any, heads: Collection[str], *, then: str) -> None:
        """Alembic has written the version row, and has ``heads`` now; revision ``then`` or the COMMIT comes next."""
        heard, self._heard = self._heard, 0
        assert self._versions is not None
        self._versions.rows = sorted(heads)
        self._tell("written", heads=self._versions.rows)
        if self._counted is None:
            return
        if heard:
            # Something that the revision registered has run.
            self._judge(cursor, self._counted)
        else:
            self._violate(self._versions.violations(cursor, self._revision))
        if not self._guards(then):
            self._run_deferred(cursor)

    def end(self, cursor: Any) -> None:
        """What comes next is the COMMIT: not of a rehearsal, nor where the lock was lost and others may migrate."""
        if self._job.rehearsal == TRANSACTION:
            raise Rehearsed("the rehearsal came to its end")
        with undone(cursor, PIN):
            if self._job.lock_pid and not run(cursor, _LOCK_HELD, (self._job.lock_pid,))[0][0]:
                raise lock_lost("the server does not show its lock any more")
        # Else nothing is left to be executed on it.
        self._migrating = self._migrating if self.waits_for_commit else None

    @contextmanager
    def outside(self, block: AbstractContextManager[None], cursor: Callable[[], Any]) -> Iterator[None]:
        """Around a ``block`` in which a revision goes on outside of any transaction (``autocommit_block``).

        :param cursor: gives one in whatever transaction there is then.
        :raises Unrehearsable: where nothing may be committed, or Violated where what it has written is refused.
        """
        self._leaving = "autocommit_block" if self._job.rehearsal == TRANSACTION else ""
        self._refuse_leaving()
        if self._rows is not None:
            self._rows.leave()
        self._tell_left("autocommit_block", packed(self._catalog))
        with block:
            # A lock timeout would leave an invalid index behind (CREATE INDEX CONCURRENTLY).
            self._put(cursor(), lock_timeout="0")
            with self._meanwhile.outside():
                yield
        self._put(cursor())
        if self._rows is not None:
            with undone(cursor(), PIN):
                self._rows.begin()

    def _guards(self, revision: str) -> bool:
        return revision in self._job.prefixes and (self._job.policy != OFF or revision in self._job.leaving)

    def _refuse_leaving(self) -> None:
        if self._leaving:
            raise Unrehearsable(f"revision {self._revision} leaves its transaction ({self._leaving})")

    def _committed(self) -> Catalog:
        """What another session sees; nothing where nobody is to judge."""
        if self._rows is None:
            return {}
        with our_cursor(self._job.redirect or self._job.target) as cursor:
            return catalog.snapshot(cursor)

    def _put(self, cursor: Any, *also: str, **other: str) -> list[Any]:
        """SET the settings once more, and a name that says which revision runs: ``put_settings``."""
        name = application_name(self._job.app, self._revision)
        return put_settings(cursor, {**self._settings, "application_name": name, **other}, *also)

    def _tell(self, event: str, **facts: Any) -> None:
        self._report({"event": event, "revision": self._revision, **facts})

    def _tell_left(self, how: str, found: str) -> None:
        self._left = True
        self._tell("left", how=how, found=found)

    def _see_transaction(self, cursor: Any) -> bool:
        """Notice a COMMIT or ROLLBACK of the revision's own, of which the driver knows nothing; whether it was one."""
        if self._left:
            return False
        if cursor.connection.info.transaction_status == IDLE:
            # The driver believes in a transaction; without one all that follows would commit by itself.
            cursor.execute("begin")
        state = "select pg_catalog.txid_current_if_assigned(), pg_catalog.txid_status(%s::pg_catalog.int8)"
        [(now, before)] = run(cursor, state, (self._transaction,))
        if now == self._transaction:
            return False
        if before != "committed":
            # Earlier revisions are undone with it, and what came after it has committed by itself.
            self._tell_left("ROLLBACK", "")
            how = "PREPARE TRANSACTION" if before == "in progress" else "ROLLBACK"
            raise RuntimeError(f"it ended its transaction with a {how} of its own")
        self._tell_left("COMMIT", packed(self._catalog))
        self._leaving = "COMMIT" if self._job.rehearsal == TRANSACTION else ""
        self._refuse_leaving()
        return True

    @contextmanager
    def _look(self, cursor: Any) -> Iterator[None]:
        """The database as the COMMIT would leave it, looked at without anything that a revision has set."""
        poison = ANTIDOTE if self._job.rehearsal == TRANSACTION else ""
        with ExitStack() as look:
            with_deferred = True
            try:
                look.enter_context(undone(cursor, f"{poison}{_RUN_DEFERRED}; {self._pin}; {_DEFERS}"))
            except driver.errors(name="IntegrityError"):
                # A later revision may mend that. Else the COMMIT fails.
                with_deferred = False
                look.enter_context(undone(cursor, f"{self._pin}; {_DEFERS}"))
            self._deferring = cursor.fetchone()[0] or not with_deferred
            yield

    def _run_deferred(self, cursor: Any) -> None:
        """Have run what revisions left for the COMMIT, and judge it: it may do otherwise than when it was tried."""
        if self._deferring and self._counted is not None and self._job.rehearsal != TRANSACTION:
            cursor.execute(_RUN_DEFERRED)
            self._judge(cursor, self._counted if self._job.policy_data == REFUSE else None)
            self._deferring = False

    def _judge(self, cursor: Any, rows: WrittenRows | None) -> None:
        """Hold what the revision did against the policy."""
        finish_cursors(cursor)
        assert self._versions is not None
        of_versions = self._versions.violations(cursor, self._revision)
        with self._look(cursor):
            found, refused = self._found_against_policy(cursor, rows)
        self._violate(found + of_versions, refused=refused)

    def _violate(self, found: list[dict[str, str]], *, refused: bool = False) -> None:
        if found:
            self._tell("violations", violations=found)
        if refused or (found and self._job.policy == ENFORCE):
            raise Violated(f"revision {self._revision} is against the policy")

    def _found_against_policy(self, cursor: Any, rows: WrittenRows | None) -> tuple[list[dict[str, str]], bool]:
        """What violates it, and whether rows were written that are refused."""
        job, revision, before = self._job, self._revision, self._catalog
        assert before is not None
        # What is deferred has run in a look that is taken back; what was done beside, another transaction did.
        since = None if self._deferring or self.beside.worked(cursor) else self._since
        now, touched, moment = catalog.read_on(cursor, before, since)
        self._catalog, self._since = now, None if self._deferring else moment
        if rows is not None:
            rows.count()
        prefixes = job.prefixes[revision]
        changes, replaced = difference(before, now, touched), rewritten(before, now, touched=touched)
        changes, theirs = self._meanwhile.tell_apart(changes)
        if rules.violations(revision, theirs, prefixes):
            self._tell("others", objects=[change.identity for change in theirs], beside=False)
        found = rules.violations(revision, changes, prefixes)
        suspect = found or rules.data_report([], replaced, prefixes)
        if suspect and job.catalog is not None and touched is None and not self._left:
            # What another session sees as well was committed by one.
            with self._other() as other:
                elsewhere = (job.catalog, catalog.snapshot(other))
            ours, others = made_by_others(changes, now, *elsewhere)
            beside = self.beside.worked(cursor)
            if others:
                self._tell("others", objects=[change.identity for change in others], beside=beside)
            # Nobody can say which of them it was.
            if not beside:
                found, replaced = rules.violations(revision, ours, prefixes), rewritten(before, now, elsewhere)
        return found, rows is not None and rows.judge(replaced)

    def _other(self) -> AbstractContextManager[Any]:
        return our_cursor(self._job.redirect or self._job.target)
