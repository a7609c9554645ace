# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every connection of psycopg2 and psycopg that a process opens, by whatever way: where it leads, and who hears of it.

The only file that uses private names of theirs. SQLAlchemy's engines, their ``creator``, pools, and
``psycopg2.connect`` under whatever name it was imported come to ``psycopg2._connect`` in the end. Other drivers,
other programs and a bare ``psycopg2.extensions.connection(…)`` do not. Of psycopg 3, ``connect`` of its two classes of
connections is the one door, and every statement goes through a method of its cursors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from inspect import Parameter, signature
from typing import Any

from ..postgres import driver
from ..postgres.connection import connect
from ..postgres.url import Target
from ..problem import Refused

# A cursor's methods that execute something, and what that is where their first argument is not its text.
_TEXTS = {
    "execute": "",
    "executemany": "",
    "copy_expert": "",
    "copy_from": "copy t from stdin",
    "callproc": "select f()",  # which it sends
}
# What a connection's methods execute.
_ENDINGS = {"commit": "commit", "tpc_commit": "commit", "tpc_prepare": "prepare transaction"}

# from libpq's parameters to those that are really taken
Lead = Callable[[dict[str, Any]], dict[str, Any]]
Opened = Callable[[Any], None]
Heard = Callable[[Any, str], None]

_ours = threading.local()


def _nothing(*_arguments: Any) -> None:
    """Nobody is to be told."""


def intercept(lead: Lead, opened: Opened = _nothing, used: Opened = _nothing, heard: Heard = _nothing) -> None:
    """From now on, for as long as the process lives: see to each connection that is opened by a driver that is here.

    :param opened: is told of each connection before anybody else has it, and ``used`` before something is executed.
    :param heard: is told of a connection and each statement before a cursor of it executes that, and of the driver's
        own ``commit``. What it raises keeps the statement from being executed.
    """
    for name, hook in ((driver.PSYCOPG2, _hook_psycopg2), (driver.PSYCOPG, _hook_psycopg)):
        try:
            module = driver.load(name)
        except Refused:
            continue  # then the app cannot use it either
        hook(module, lead, opened, used, heard)


def _hook_psycopg2(psycopg2: Any, lead: Lead, opened: Opened, used: Opened, heard: Heard) -> None:
    extensions, original = psycopg2.extensions, psycopg2._connect

    def connect(dsn: str, connection_factory: Any = None, **more: Any) -> Any:
        if getattr(_ours, "opening", False):
            return original(dsn, connection_factory=connection_factory, **more)
        dsn = extensions.make_dsn(**lead(extensions.parse_dsn(dsn)))
        factory = connection_factory or extensions.connection
        if isinstance(factory, type):
            factory = _telling(factory, used, heard)
        connection = original(dsn, connection_factory=factory, **more)
        opened(connection)
        return connection

    psycopg2._connect = connect


def _hook_psycopg(psycopg: Any, lead: Lead, opened: Opened, used: Opened, heard: Heard) -> None:
    plain = driver.plain_class()

    def hook_connect(kind: Any) -> None:
        original = kind.connect.__func__
        named = [each.name for each in signature(original).parameters.values() if each.kind is Parameter.KEYWORD_ONLY]

        def led(conninfo: str, arguments: dict[str, Any]) -> dict[str, Any]:
            options = {name: arguments.pop(name) for name in named if name in arguments}
            return {**lead(psycopg.conninfo.conninfo_to_dict(conninfo, **arguments)), **options}

        def connect(cls: Any, conninfo: str = "", **arguments: Any) -> Any:
            if getattr(_ours, "opening", False):
                return original(cls, conninfo, **arguments)
            connection = original(cls, **led(conninfo, arguments))
            opened(connection)
            return connection

        async def connect_async(cls: Any, conninfo: str = "", **arguments: Any) -> Any:
            connection = await original(cls, **led(conninfo, arguments))
            opened(connection)
            return connection

        hooked: Any = connect if kind is psycopg.Connection else connect_async
        kind.connect = classmethod(hooked)

    def tell(cursor: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not isinstance(cursor, plain):
            said = arguments[0] if arguments else named.get("query") or named.get("statement") or ""
            used(cursor.connection)
            heard(cursor.connection, _text(said, cursor, getattr(psycopg.sql, "as_string", None)))

    def method(original: Any) -> Any:
        def execute(self: Any, *arguments: Any, **named: Any) -> Any:
            tell(self, arguments, named)
            return original(self, *arguments, **named)

        return execute

    def stream(original: Any) -> Any:
        def execute(self: Any, *arguments: Any, **named: Any) -> Any:
            # once it begins
            tell(self, arguments, named)
            yield from original(self, *arguments, **named)

        return execute

    def copy(original: Any) -> Any:
        @contextmanager
        def execute(self: Any, *arguments: Any, **named: Any) -> Any:
            tell(self, arguments, named)
            with original(self, *arguments, **named) as opened:
                yield opened

        return execute

    def ending(original: Any, text: str) -> Any:
        def end(self: Any, *arguments: Any) -> Any:
            heard(self, text)
            return original(self, *arguments)

        return end

    def leave(self: Any, kind: Any, *error: Any) -> Any:
        if kind is None and not self.force_rollback and self._outer_transaction:
            heard(self.connection, "commit")
        return leave_transaction(self, kind, *error)

    for kind in (psycopg.Cursor, psycopg.ServerCursor):
        for name, telling in {"execute": method, "executemany": method, "stream": stream, "copy": copy}.items():
            if name in vars(kind):
                setattr(kind, name, telling(getattr(kind, name)))
    for kind in (psycopg.AsyncCursor, psycopg.AsyncServerCursor):
        for name in {"execute", "executemany", "stream", "copy"} & {*vars(kind)}:
            setattr(kind, name, method(getattr(kind, name)))
    for kind in (psycopg.Connection, psycopg.AsyncConnection):
        hook_connect(kind)
        for name, text in _ENDINGS.items():
            setattr(kind, name, ending(getattr(kind, name), text))
    psycopg.connect = psycopg.Connection.connect
    leave_transaction = psycopg.Transaction.__exit__
    psycopg.Transaction.__exit__ = leave


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

    def ending(name: str, text: str) -> Any:
        def end(self: Any, *arguments: Any) -> None:
            heard(self, text)
            getattr(factory, name)(self, *arguments)

        return end

    endings = {name: ending(name, text) for name, text in _ENDINGS.items()}
    return type(factory.__name__, (factory,), {"cursor": cursor, **endings})


def _telling_method(original: Any, text: str, heard: Callable[[Any, str], None]) -> Any:
    def execute(self: Any, *arguments: Any, **named: Any) -> Any:
        said = text or (arguments[0] if arguments else named.get("query") or named.get("sql") or "")
        heard(self.connection, _text(said, self))
        return original(self, *arguments, **named)

    return execute


def _text(said: Any, cursor: Any, render: Any = None) -> str:
    """A statement as text: it may be bytes, composed, or a template (``render`` knows these)."""
    if isinstance(said, bytes):
        return said.decode(errors="replace")
    if isinstance(said, str):
        return said
    return str(said.as_string(cursor) if hasattr(said, "as_string") else render(said, cursor))
