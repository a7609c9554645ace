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
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..postgres.connection import driver

# Of a cursor, and what it is to execute.
Around = Callable[[Any, str], AbstractContextManager[None]]

_ours = threading.local()


def intercept(
    lead: Callable[[dict[str, Any]], dict[str, Any]],
    opened: Callable[[Any], None] | None = None,
    used: Callable[[Any], Around | None] | None = None,
) -> None:
    """From now on, for as long as the process lives: see to each connection that is opened.

    :param lead: from libpq's parameters to those that are really taken.
    :param opened: is told of each connection before anybody else has it.
    :param used: is told of a connection each time before a cursor of it is made, and may give what is to be done
        around each statement that the cursor executes.
    """
    psycopg2, extensions = driver(), _extensions()
    original = psycopg2._connect

    def connect(dsn: str, connection_factory: Any = None, **more: Any) -> Any:
        if getattr(_ours, "opening", False):
            return original(dsn, connection_factory=connection_factory, **more)
        dsn = extensions.make_dsn(**lead(extensions.parse_dsn(dsn)))
        factory = connection_factory or extensions.connection
        if used is not None and isinstance(factory, type):
            factory = _telling(factory, used)
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


def plain_cursor(connection: Any) -> Any:
    """A cursor of which nobody is told, and whose rows are tuples, whatever class the app's connection has."""
    extensions = _extensions()
    return extensions.connection.cursor(connection, cursor_factory=extensions.cursor)


def _telling(factory: type[Any], used: Callable[[Any], Around | None]) -> type[Any]:
    def cursor(self: Any, name: Any = None, cursor_factory: Any = None, *arguments: Any, **named: Any) -> Any:
        around = used(self)
        if around is not None:
            cursor_factory = _surrounded(cursor_factory or self.cursor_factory or _extensions().cursor, around)
        if cursor_factory is not None:
            named["cursor_factory"] = cursor_factory
        return factory.cursor(self, name, *arguments, **named)

    return type(factory.__name__, (factory,), {"cursor": cursor})


def _surrounded(factory: Any, around: Around) -> Any:
    """A class of cursors that do something around each statement; what is no class is left as it is."""
    if not isinstance(factory, type):
        return factory

    def method(name: str) -> Any:
        original = getattr(factory, name)

        def execute(self: Any, query: Any, *arguments: Any, **named: Any) -> Any:
            with around(self, _text(query, self) if name in ("execute", "executemany", "copy_expert") else "select"):
                return original(self, query, *arguments, **named)

        return execute

    executing = ("execute", "executemany", "callproc", "copy_expert", "copy_from")
    return type(factory.__name__, (factory,), {name: method(name) for name in executing})


def _text(query: Any, cursor: Any) -> str:
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    return query if isinstance(query, str) else str(query.as_string(cursor))


def _extensions() -> Any:
    from psycopg2 import extensions

    return extensions
