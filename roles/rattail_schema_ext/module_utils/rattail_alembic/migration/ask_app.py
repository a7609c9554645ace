# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What only the app itself can answer: where its config leads, what its ``env.py`` sees, what its files hold."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from ..cores import Core
from ..postgres import driver
from ..postgres.contents import INCARNATION, quoted
from ..problem import Refused
from .alembic_api import alembic_config, declared_labels, loaded, run_env, script_directory
from .child import Event, Outcome, Report, in_child
from .connect_hook import intercept
from .other_connections import set_session

TAKE_IT_FROM_THE_CONFIG = "Have it take the database from the app's config file, as Rattail's own does."
_WHERE = f"""
select current_database(), {INCARNATION},
  (select atttypmod - 4 from pg_attribute where attrelid = to_regclass(:name) and attname = 'version_num')
"""


class _Answered(Exception):
    """The app's own code has said what was asked."""


class Source:
    """Has ``package``, and what is above it, imported from the directory ``root``, whatever else is installed.

    So the app is asked as it is at a commit that is not checked out, or before it is installed.
    """

    def __init__(self, package: str, root: str) -> None:
        self._package = package
        self._root = root

    def first(self) -> None:
        """Have this process import from there."""
        # An editable install may have a finder of its own, and env.py a path.
        sys.meta_path.insert(0, self)
        sys.path.append(self._root)

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """What the import system asks; None for what it is to look for as ever."""
        if not f"{self._package}.".startswith(f"{name}."):
            return None
        spec = PathFinder.find_spec(name, [os.path.join(self._root, *name.split(".")[:-1])])
        # A namespace has other places, too.
        return spec if spec and (spec.origin or name == self._package) else None


def version_table(
    config_file: str, options: Mapping[str, str], source: Source | None, database: str, incarnation: str
) -> tuple[tuple[str, ...], str, int]:
    """The version rows as the app's own ``env.py`` leads to them, their table's name, with a schema it gives, and how
    many characters that takes; 0 where there is no limit, or it is not known.

    :param source: where the app is to be imported from; None where it is installed as it is wanted.
    :param database: the one that the config leads to, and ``incarnation`` which that is (``contents.INCARNATION``).
    :raises Refused: where ``env.py`` fails, or leads to another.
    """

    def work(report: Report) -> None:
        def steps(_script: Any, rows: Any, context: Any) -> list[Any]:
            from sqlalchemy import text

            refuse_another_driver(context)
            parts = list(filter(None, (context.version_table_schema, context.version_table)))
            asked = context.connection.execute(text(_WHERE), {"name": ".".join(map(quoted, parts))})
            where = dict(zip(("database", "incarnation", "width"), next(iter(asked))))
            report({"event": "rows", "rows": list(rows), "table": ".".join(parts), **where})
            raise _Answered

        # What env.py does afterwards is not for a look to do.
        with suppress(_Answered):
            run_env(alembic_config(config_file, options), steps, dont_mutate=True)

    said = answer(_child(work, source), "rows", "The app's env.py", config_file)
    if said["incarnation"] != incarnation:
        raise database_other(said["database"], database)
    return tuple(sorted(said["rows"])), said["table"], max(said["width"] or 0, 0)


def database_other(found: str, wanted: str) -> Refused:
    """The refusal of an ``env.py`` that connects to another database than the app's config leads to."""
    where = f"{found!r}, not to {wanted!r}" if found != wanted else f"a database {found!r} of another server"
    return Refused("database_other", f"The app's env.py connects to {where}.", TAKE_IT_FROM_THE_CONFIG)


def refuse_another_driver(context: Any) -> None:
    """Refuse an ``env.py`` on whose connection nothing can be watched: Alembic's ``context`` has it."""
    if not driver.is_known(getattr(context.connection.connection.cursor(), "connection", None)):
        raise driver_other(context.dialect)


def driver_other(dialect: Any) -> Refused:
    """The refusal of an ``env.py``, or of an app, that connects by SQLAlchemy with another driver."""
    by = f"{dialect.driver}{', asynchronously' if dialect.is_async else ''}"
    cause = f"The app's env.py connects by {by}, where nobody could watch over what a revision does."
    return Refused("env_driver", cause, TAKE_IT_FROM_THE_CONFIG)


def revisions(
    config_file: str, options: Mapping[str, str], source: Source | None, directories: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """What Alembic itself finds in version locations, for files that only it can read.

    :param options: ``[alembic]`` options that the file is to have but may not have yet.
    :param directories: pairs of a location as written and the directory that it means now.
    :returns: dicts with the fields of :class:`graph.Revision`, in Alembic's load order; refused where a file fails.
    """

    def work(report: Report) -> None:
        # A file that is only loaded has nothing to write.
        intercept(lambda arguments: arguments, partial(set_session, read_only=True))
        script = script_directory(alembic_config(config_file, options), [path for _, path in directories])
        found = [
            {
                "revision": each.revision,
                "down_revision": _names(each.down_revision),
                "branch_labels": declared_labels(each),
                "depends_on": _names(each.dependencies),
                "message": each.doc,
                "path": each.path,
            }
            for each in loaded(script)
        ]
        report({"event": "revisions", "revisions": found})

    found: list[dict[str, Any]] = answer(_child(work, source), "revisions", "A revision file", config_file)["revisions"]
    for each in found:
        path = os.path.realpath(each["path"])
        inside = (spec for spec, directory in directories if path.startswith(os.path.realpath(directory) + os.sep))
        each["location"] = next(inside, "")
    return found


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def database_url(config_file: str, core: Core, source: Source | None) -> str:
    """The database URL that the app's own configuration machinery comes to; refused where it has none."""

    def work(report: Report) -> None:
        import importlib
        from urllib.parse import quote

        config = importlib.import_module(core.make_config).make_config(config_file, usedb=False)
        engine = config.appdb_engine
        if engine is None:
            raise LookupError("it configures no database")
        # SQLAlchemy 1.4 leaves a literal % as it is, which would be read as the beginning of an escape.
        user, password = (value and quote(value, safe="") for value in (engine.url.username, engine.url.password))
        url = engine.url.set(username=user, password=password)
        report({"event": "url", "url": url.render_as_string(hide_password=False)})

    found: str = answer(_child(work, source), "url", "The app's configuration", config_file)["url"]
    return found


def _child(work: Callable[[Report], None], source: Source | None) -> Outcome:
    """What became of ``work`` in a child that imports the app from ``source``."""

    def prepared(report: Report) -> None:
        if source:
            source.first()
        work(report)

    return in_child(prepared)


def answer(outcome: Outcome, name: str, what: str, config_file: str) -> Event:
    """The event ``name`` of a child that was asked for it; refused where the child failed before it came to that.

    :param what: what the child ran, to begin a sentence with.
    """
    said = outcome.last(name)
    if said is not None:
        return said
    error = outcome.error
    if error and error["problem"]:
        raise Refused(**error["problem"])
    words = f"{error['type']}: {error['message']}{_where(error)}" if error else f"the process {outcome.ending}"
    raise Refused(
        "app_failed",
        f"{what} cannot be run: {words.rstrip('.')}.",
        f"Run bin/alembic -c {config_file} current by hand in the environment to see it whole.",
    )


def _where(error: Event) -> str:
    """The last place in code of the app's own that an error came through, in words; empty where there is none."""
    # a SyntaxError names its place itself
    places = re.findall(r'^  File "(/.+)", line (\d+)', "" if error["type"] == "SyntaxError" else error["trace"], re.M)
    others = ("/site-packages/", f"{os.path.dirname(os.__file__)}/", f"{os.path.dirname(os.path.dirname(__file__))}/")
    own = [(file, line) for file, line in places if not any(other in file for other in others)]
    return f" (in {own[-1][0]}, line {own[-1][1]})" if own else ""
