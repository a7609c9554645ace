# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was done to the schema, when and by whom, and what is known of the revisions that are applied.

It is kept where the database is, so that all hosts have it and a restore brings back what belongs to the rows: in a
schema of the role's own, ``run`` with a row for each run that touched the database, and ``revision`` with one for each
that is applied. Where the role may make no schema, it is in files: ``<app>.history.jsonl``, of which logrotate may take
lines away, and ``<app>.checksums.json``.
"""

from __future__ import annotations

import json
import os
import pwd
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..observe.answer import Answer, Revision
from ..observe.observation import Ready
from ..postgres import driver
from ..postgres.connection import ROLE, connect, first_line, run
from ..postgres.contents import HISTORY_LAYOUT, quoted
from ..postgres.url import Target
from ..problem import Refused, mask
from ..revisions import applied
from ..revisions.applied import Applied

_DIRECTORY_MODE = 0o750
_FILE_MODE = 0o640

TABLES = f"""
create table {ROLE}.revision (
  app text, revision text, layout integer not null, entry jsonb not null, primary key (app, revision));
create table {ROLE}.run (app text not null, layout integer not null, entry jsonb not null)
"""
# What default privileges give to others.
_GRANTED = f"""
select distinct format('revoke all on %s from %s', x.thing, case a.grantee when 0 then 'public'
  else quote_ident(pg_get_userbyid(a.grantee)) end)
from (select 'schema {ROLE}' as thing, nspacl as acl, nspowner as owner from pg_namespace where nspname = '{ROLE}'
  union all select c.oid::regclass::text, c.relacl, c.relowner from pg_class c
  where c.relnamespace = '{ROLE}'::regnamespace and c.relkind = 'r') x, aclexplode(x.acl) a where a.grantee <> x.owner
"""
_PUT = f"""
insert into {ROLE}.revision select %s, e.key, {HISTORY_LAYOUT}, e.value from jsonb_each(%s::jsonb) e
on conflict (app, revision) do {{}}
"""
_ADD = f"""
insert into {ROLE}.run select %s, {HISTORY_LAYOUT}, e.value
from jsonb_array_elements(%s::jsonb) with ordinality e(value, number)
where not exists (select from {ROLE}.run r where r.entry = e.value) order by e.number
"""


def prepare(ready: Ready, answer: Answer) -> None:
    """Make the schema, where the role may and it is not there, and take over what files of earlier runs hold.

    Before a backup is made, so that it is in there. That this fails is a warning: files serve as well.
    """
    history, directory, app = ready.contents.history, ready.request.history_dir, ready.request.app
    files = [each for each in (_runs_file(directory, app), applied.checksums_file(directory, app)) if each.exists()]
    if not (history.there or history.may_make) or (history.there and not files):
        return
    try:
        past, runs = applied.read_file(directory, app), _read_runs(directory, app)
        with _transaction(ready.way) as cursor:
            if not history.there:
                _make(cursor, ready)
            cursor.execute(_PUT.format("nothing"), (app, _dumped(past)))
            cursor.execute(_ADD, (app, _json(runs)))
        for file in files:
            file.unlink()
    except driver.errors(OSError, ValueError, Refused) as error:
        answer.warn(f"The history cannot be moved into the database: {_reason(error)}.")


def keep(after: Ready, answer: Answer, *, line: bool = True) -> None:
    """Write down what a run did. That this fails is a warning: the database is as it is.

    :param line: whether it did something itself, so that the history gets a line, and not the revisions alone.
    """
    entry = _entry(after, answer)
    wanted = _wanted(after, answer, entry["time"])
    try:
        if not after.contents.history.there:
            _write_files(after, wanted, entry if line else None)
        elif line:
            _write_rows(after, wanted, entry)
    except driver.errors(OSError, Refused) as error:
        answer.warn(f"What was done cannot be written to the history: {_reason(error)}.")


@contextmanager
def _transaction(way: Target) -> Iterator[Any]:
    """A cursor of a session that neither a revision nor the app has anything to do with."""
    with closing(connect(way)) as connection, connection.cursor() as cursor:
        cursor.execute("begin; set local search_path = pg_catalog, pg_temp")
        yield cursor
        cursor.execute("commit")


def _make(cursor: Any, ready: Ready) -> None:
    """Make the schema and its tables, which nobody else writes, and the app's role reads where it is another one."""
    # Another app's run may do the same now.
    cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (ROLE,))
    if run(cursor, "select to_regclass(%s) is null", (f"{ROLE}.run",)) != [(True,)]:
        return
    if run(cursor, "select to_regnamespace(%s) is null", (ROLE,)) == [(True,)]:
        cursor.execute(f"create schema {ROLE}")
    cursor.execute(TABLES)
    for (revoke,) in run(cursor, _GRANTED):
        cursor.execute(revoke)
    if ready.redirect is not None:
        with closing(connect(ready.target)) as connection, connection.cursor() as other:
            [(user,)] = run(other, "select current_user")
        cursor.execute(f"grant usage on schema {ROLE} to {quoted(user)}")
        cursor.execute(f"grant select on all tables in schema {ROLE} to {quoted(user)}")


def _write_rows(after: Ready, wanted: Mapping[str, Applied], entry: dict[str, Any]) -> None:
    app, past = after.request.app, after.past
    changed = {name: each for name, each in wanted.items() if past.get(name) != each}
    with _transaction(after.way) as cursor:
        gone = sorted(past.keys() - wanted.keys())
        cursor.execute(f"delete from {ROLE}.revision where app = %s and revision = any(%s)", (app, gone))
        update = f"update set layout = {HISTORY_LAYOUT}, entry = excluded.entry"
        cursor.execute(_PUT.format(update), (app, _dumped(changed)))
        cursor.execute(_ADD, (app, _json([entry])))


def _write_files(after: Ready, wanted: Mapping[str, Applied], entry: dict[str, Any] | None) -> None:
    directory, app = after.request.history_dir, after.request.app
    os.makedirs(directory, mode=_DIRECTORY_MODE, exist_ok=True)
    if entry:
        # One write in append mode: lines of two runs do not mix.
        with open(_runs_file(directory, app), "ab", buffering=0, opener=partial(os.open, mode=_FILE_MODE)) as file:
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(json.dumps(entry).encode() + b"\n")
            os.fsync(file.fileno())
    if wanted != after.past:
        _replace(applied.checksums_file(directory, app), f'{{"revisions": {_dumped(wanted)}}}\n')


def _runs_file(directory: str, app: str) -> Path:
    return Path(directory, f"{app}.history.jsonl")


def _read_runs(directory: str, app: str) -> list[Any]:
    """The lines of earlier runs; one that was cut off is a text."""
    found: list[Any] = []
    try:
        lines = _runs_file(directory, app).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(line)
    return found


def _entry(after: Ready, answer: Answer) -> dict[str, Any]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "app": after.request.app,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        # who became that user
        "login": os.environ.get("SUDO_USER", ""),
        "host": os.uname().nodename,
        "database": {name: getattr(answer.database, name) for name in ("name", "host", "port", "user")},
        "from": answer.current_before,
        "to": answer.current_after,
        "applied": _seconds(answer.applied),
        "reverted": _seconds(answer.reverted),
        "stamped": answer.stamped,
        "commit": after.checkout.commit,
        "backup_file": answer.backup.file if answer.backup else "",
        "retries": answer.retries,
        "failed": mask(answer.msg),
    }


def _wanted(after: Ready, answer: Answer, at: str) -> dict[str, Applied]:
    """What is to be kept of what is applied: anew of what was applied now, and nothing of what was undone.

    Of a revision that was applied before, by whomever, that is kept which is there, else its file as it is.
    """
    now, gone = {*_seconds(answer.applied), *answer.stamped}, _seconds(answer.reverted)
    core, wanted = after.request.base.version_location, dict(after.past)
    for name in after.plan.applied:
        revision = after.graph.revisions[name]
        # Core's files are what its package ships, and nobody compares them.
        text = after.texts.get(revision.path, "") if revision.location != core else ""
        commit = after.checkout.commit if name in now else ""
        fresh, kept = applied.of(revision, text, at=at if name in now else "", commit=commit), wanted.get(name)
        if kept is None or name in now:
            wanted[name] = fresh
        elif kept.down_revision is None:
            wanted[name] = fresh._replace(checksum=kept.checksum)
    return {name: each for name, each in sorted(wanted.items()) if name not in gone}


def _dumped(revisions: Mapping[str, Applied]) -> str:
    """As JSON, without what is not known; of a base it is known that it follows nothing."""
    return _json({name: _without_empty(each) for name, each in revisions.items()})


def _without_empty(entry: Applied) -> dict[str, Any]:
    known = {} if entry.down_revision is None else {"down_revision": entry.down_revision}
    return {**known, **{name: value for name, value in entry._asdict().items() if value}}


def _json(value: Any) -> str:
    """What the database takes as well, which knows no NUL, and no half of a character."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode().replace("\\u0000", "?")


def _replace(path: Path, text: str) -> None:
    """Put a whole file in the place of another one."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), _FILE_MODE)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _seconds(revisions: Iterable[Revision]) -> dict[str, float | None]:
    """Revision → the seconds that it took."""
    return {each.revision: each.seconds for each in revisions}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(str(error))
