# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every psycopg2 connection that a process opens, by whatever way: where it leads, and who hears of it.

The only file that uses private names of psycopg2's. SQLAlchemy's engines, their ``creator``, pools, and
``psycopg2.connect`` under whatever name it was imported come to ``psycopg2._connect`` in the end. Other drivers,
other programs and a bare ``psycopg2.extensions.connection(…)`` do not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from ..postgres.connection import connect, driver
from ..postgres.url import Target

# A cursor's methods that execute something, and what that is where their first argument is not its text.
_TEXTS = {
    "execute": "",
    "executemany": "",
    "copy_expert": "",
    "copy_from": "copy t from stdin",
    "callproc": "select f()",  # which it sends
}

_ours = threading.local()


def intercept(
    lead: Callable[[dict[str, Any]], dict[str, Any]],
    opened: Callable[[Any], None] | None = None,
    used: Callable[[Any], None] | None = None,
    heard: Callable[[Any, str], None] | None = None,
) -> None:
    """From now on, for as long as the process lives: see to each connection that is opened.

    :param lead: from libpq's parameters to those that are really taken.
    :param opened: is told of each connection before anybody else has it, and ``used`` before a cursor of it is made.
    :param heard: is told of a connection and each statement before a cursor of it executes that, and of the driver's
        own ``commit``. What it raises keeps the statement from being executed.
    """
    psycopg2 = driver()
    extensions, original = psycopg2.extensions, psycopg2._connect

    def connect(dsn: str, connection_factory: Any = None, **more: Any) -> Any:
        if getattr(_ours, "opening", False):
            return original(dsn, connection_factory=connection_factory, **more)
        dsn = extensions.make_dsn(**lead(extensions.parse_dsn(dsn)))
        factory = connection_factory or extensions.connection
        if used is not None and heard is not None and isinstance(factory, type):
            factory = _telling(factory, used, heard)
        connection = original(dsn, connection_factory=factory, **more)
        if opened is not None:
            opened(connection)
        return connection

    psycopg2._connect = connect


@contextmanager
def our_own() -> Iterator[None]:
    """What this thread opens meanwhile is not the app's."""
    _ours.opening = True
    try:
        yield
    finally:
        _ours.opening = False


@contextmanager
def our_cursor(target: Target) -> Iterator[Any]:
    """A cursor of another session, which is not the app's."""
    with our_own():
        connection = connect(target)
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def plain_cursor(connection: Any) -> Any:
    """A cursor of which nobody is told, and whose rows are tuples, whatever class the app's connection has."""
    extensions = driver().extensions
    return extensions.connection.cursor(connection, cursor_factory=extensions.cursor)


def _telling(factory: type[Any], used: Callable[[Any], None], heard: Callable[[Any, str], None]) -> type[Any]:
    """A class of connections whose cursors tell what they are about to execute."""
    classes: dict[type[Any], type[Any]] = {}

    def cursor(self: Any, name: Any = None, cursor_factory: Any = None, *arguments: Any, **named: Any) -> Any:
        used(self)
        if cursor_factory is not None:
            named["cursor_factory"] = cursor_factory
        made = factory.cursor(self, name, *arguments, **named)
        wanted = cursor_factory or self.cursor_factory
        if wanted is not None and not isinstance(wanted, type):
            return made
        # Which class a connection's cursors have by default, only the connection knows. No server has heard of one yet.
        kind = type(made)
        if kind not in classes:
            methods = {method: _telling_method(getattr(kind, method), text, heard) for method, text in _TEXTS.items()}
            classes[kind] = type(kind.__name__, (kind,), methods)
        return factory.cursor(self, name, *arguments, **{**named, "cursor_factory": classes[kind]})

    def commit(self: Any) -> None:
        heard(self, "commit")
        factory.commit(self)

    def tpc_prepare(self: Any) -> None:
        heard(self, "prepare transaction")
        factory.tpc_prepare(self)

    return type(factory.__name__, (factory,), {"cursor": cursor, "commit": commit, "tpc_prepare": tpc_prepare})


def _telling_method(original: Any, text: str, heard: Callable[[Any, str], None]) -> Any:
    def execute(self: Any, *arguments: Any, **named: Any) -> Any:
        said = text or (arguments[0] if arguments else named.get("query") or named.get("sql") or "")
        if isinstance(said, bytes):
            said = said.decode(errors="replace")
        heard(self.connection, said if isinstance(said, str) else str(said.as_string(self)))
        return original(self, *arguments, **named)

    return execute
