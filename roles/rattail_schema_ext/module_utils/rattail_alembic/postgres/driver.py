# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The two drivers that the role speaks to PostgreSQL by, psycopg2 and psycopg 3, and what tells them apart.

Both stand on libpq. Everything else is written against what they have in common: a connection's ``info``, ``closed``,
``autocommit``, ``commit`` and ``rollback``, and a cursor of :func:`plain_cursor`, which behaves as psycopg2's does.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from select import select
from typing import Any

from ..problem import Refused

PSYCOPG2, PSYCOPG = "psycopg2", "psycopg"
NAMES = (PSYCOPG2, PSYCOPG)
# pq: PQTRANS_IDLE, PQTRANS_ACTIVE, PQTRANS_INTRANS
IDLE, ACTIVE, IN_TRANSACTION = 0, 1, 2

_PACKAGES = {PSYCOPG2: "psycopg2-binary", PSYCOPG: "'psycopg[binary]'"}
# sqlalchemy/dialects/postgresql/__init__.py: psycopg2 until 2.0, psycopg since 2.1
_DEFAULT = re.compile(r"^base\.dialect = dialect = (\w+)\.dialect$", re.MULTILINE)
# libpq's PQERRORS_VERBOSE, CONNECTION_BAD, PGRES_POLLING_READING, …_WRITING and …_OK
_VERBOSE, _BAD, _READING, _WRITING, _OK = 2, 1, 1, 2, 3


@cache
def default() -> str:
    """The driver that the installed SQLAlchemy takes for ``postgresql://``, told without importing SQLAlchemy."""
    found = _DEFAULT.search(_dialects("__init__"))
    if found is None:
        from sqlalchemy.engine import make_url

        return str(make_url("postgresql://").get_dialect().driver)
    return found[1]


def _dialects(name: str) -> str:
    """The text of a module of SQLAlchemy's dialects of PostgreSQL; empty where it cannot be read."""
    spec = find_spec("sqlalchemy")
    for place in (spec and spec.submodule_search_locations) or ():
        try:
            with open(os.path.join(place, "dialects", "postgresql", f"{name}.py"), encoding="utf-8") as file:
                return file.read()
        except OSError:
            pass
    return ""


@cache
def load(name: str = "") -> Any:
    """The module of a driver, of SQLAlchemy's default for no name.

    :raises Refused: where SQLAlchemy could not use it (``driver_missing``).
    """
    wanted = name or default()
    module, reason = None, "the installed SQLAlchemy does not know it"
    remedy = f"Install it: {sys.executable} -m pip install --upgrade {_PACKAGES.get(wanted, wanted)}"
    if _dialects(wanted):
        try:
            module = importlib.import_module(wanted)
        except ImportError as error:
            reason = (str(error).strip().splitlines() or ["it cannot be imported"])[0].rstrip(".")
        else:
            reason = f"its release {module.__version__} is older than 3.1"
    else:
        remedy = "Write postgresql:// in the config file"
    if module is None or (wanted == PSYCOPG and not hasattr(module, "ClientCursor")):
        there = next((each for each in NAMES if each != wanted and find_spec(each) and _dialects(each)), "")
        instead = f", or take the one that is there: postgresql+{there}:// in the config file" if there else ""
        raise Refused(
            "driver_missing",
            f"The database URL in the app's config is one for {wanted}, which {sys.executable} cannot use: {reason}.",
            f"{remedy}{instead}.",
        )
    return module


def errors(*also: type[Exception], name: str = "Error") -> tuple[type[Exception], ...]:
    """The exceptions of that name of every driver that is loaded, and ``also`` others: for ``except``."""
    return also + tuple(getattr(sys.modules[each], name) for each in NAMES if hasattr(sys.modules.get(each), name))


def sqlstate(error: BaseException | None) -> str:
    """The SQLSTATE of a driver's error; empty where the server did not raise it."""
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or ""


def connect(name: str, arguments: Mapping[str, str]) -> Any:
    """A connection in autocommit mode, whose cursors are plain ones; raises what the driver does."""
    module = load(name)
    if (name or default()) == PSYCOPG2:
        connection = module.connect(**arguments)
        connection.autocommit = True
        return connection
    return module.connect(**arguments, autocommit=True, prepare_threshold=None, cursor_factory=plain_class())


def plain_cursor(connection: Any) -> Any:
    """A cursor of which nobody is told, and whose rows are tuples, whatever class the app's connection has.

    It executes several statements at once, of which it has the last one's result, and puts parameters into their text.
    """
    if _is_psycopg(connection):
        return plain_class()(connection, row_factory=sys.modules[PSYCOPG].rows.tuple_row)
    extensions = load(PSYCOPG2).extensions
    return extensions.connection.cursor(connection, cursor_factory=extensions.cursor)


@cache
def plain_class() -> Any:
    """The class of psycopg's plain cursors."""
    psycopg = load(PSYCOPG)
    client_cursor: Any = psycopg.ClientCursor

    class PlainCursor(client_cursor):  # type: ignore[misc]  # a class that only the environment has
        # as they are before the app registers its own
        adapters = psycopg.adapt.AdaptersMap(psycopg.adapters)

        def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
            super().execute(query, params, **more)
            while self.nextset():
                pass
            return self

    return PlainCursor


def _is_psycopg(connection: Any) -> bool:
    psycopg = sys.modules.get(PSYCOPG)
    return psycopg is not None and isinstance(connection, (psycopg.Connection, psycopg.AsyncConnection))


def is_known(connection: Any) -> bool:
    """Whether this is a connection of one of the two drivers, which whoever calls can wait for."""
    psycopg2 = sys.modules.get(PSYCOPG2)
    ours = _is_psycopg(connection) or (psycopg2 and isinstance(connection, psycopg2.extensions.connection))
    return bool(ours) and not is_async(connection)


def is_async(connection: Any) -> bool:
    """Whether it is an asynchronous connection."""
    if _is_psycopg(connection):
        return isinstance(connection, sys.modules[PSYCOPG].AsyncConnection)
    return bool(getattr(connection, "async_", 0))


def is_busy(connection: Any) -> bool:
    """Whether it has sent what it has no answer to yet, or may do so at any time (psycopg's pipeline mode)."""
    status = connection.info.transaction_status
    return bool(status == ACTIVE or (_is_psycopg(connection) and connection.pgconn.pipeline_status))


def end(connection: Any) -> None:
    """Close a connection, also an asynchronous one."""
    if _is_psycopg(connection):
        connection.pgconn.finish()
    else:
        connection.close()


def set_read_only(connection: Any, value: bool | None) -> None:
    """What transactions may do that the driver begins from now on; None leaves it to the server."""
    setattr(connection, "read_only" if _is_psycopg(connection) else "readonly", value)


def parameters(connection: Any) -> dict[str, str]:
    """libpq's parameters of a connection, without its password; those that are libpq's own defaults may be missing."""
    info = connection.info
    return dict(info.get_parameters() if _is_psycopg(connection) else info.dsn_parameters)


class Client:
    """A connection by the driver's own libpq, which never blocks, and tells what drivers do not.

    :raises AttributeError: or OSError, where that libpq cannot be called.
    """

    def __init__(self, name: str, arguments: Mapping[str, str]) -> None:
        libpq = self._libpq = ctypes.CDLL(_libpq(name))
        for function in ("PQconnectStartParams", "PQgetResult"):
            getattr(libpq, function).restype = ctypes.c_void_p
        for function in ("PQerrorMessage", "PQgetvalue"):
            getattr(libpq, function).restype = ctypes.c_char_p
        names, values = ((ctypes.c_char_p * (len(arguments) + 1))(*map(str.encode, each), None)
                         for each in (arguments, arguments.values()))  # fmt: skip
        self._pointer = ctypes.c_void_p(libpq.PQconnectStartParams(names, values, 0))
        # else no message has its SQLSTATE
        libpq.PQsetErrorVerbosity(self._pointer, _VERBOSE)

    def connect(self, seconds: float) -> str:
        """Wait until it is connected; libpq's message where it fails, in which the SQLSTATE is. Raises TimeoutError."""
        deadline, state = time.monotonic() + seconds, _WRITING
        while self._libpq.PQstatus(self._pointer) != _BAD and state in (_READING, _WRITING):
            self._wait(deadline, writing=state == _WRITING)
            state = self._libpq.PQconnectPoll(self._pointer)
        return "" if state == _OK else self._libpq.PQerrorMessage(self._pointer).decode(errors="replace")

    @property
    def needs_password(self) -> bool:
        """Whether the server wanted a password and there was none."""
        return bool(self._libpq.PQconnectionNeedsPassword(self._pointer))

    def send(self, query: str) -> None:
        """Send a query that has one value."""
        self._libpq.PQsendQuery(self._pointer, query.encode())

    def receive(self, seconds: float) -> str:
        """That value. Raises TimeoutError, and ConnectionError where there is none."""
        deadline = time.monotonic() + seconds
        while not self.has_answer():
            self._wait(deadline)
        value = None
        while result := ctypes.c_void_p(self._libpq.PQgetResult(self._pointer)):
            value = value or self._libpq.PQgetvalue(result, 0, 0)
            self._libpq.PQclear(result)
        if value is None:
            raise ConnectionError(self._libpq.PQerrorMessage(self._pointer).decode(errors="replace"))
        return str(value.decode())

    def has_answer(self) -> bool:
        """Whether what was sent is answered."""
        return not (self._libpq.PQconsumeInput(self._pointer) and self._libpq.PQisBusy(self._pointer))

    def close(self) -> None:
        """Close it."""
        self._libpq.PQfinish(self._pointer)

    def _wait(self, deadline: float, *, writing: bool = False) -> None:
        left, sockets = deadline - time.monotonic(), [self._libpq.PQsocket(self._pointer)]
        if left <= 0:
            raise TimeoutError
        select([] if writing else sockets, sockets if writing else [], [], left)


def _libpq(name: str) -> str:
    """The shared library through which a driver's libpq is reached."""
    module = load(name)
    if (name or default()) == PSYCOPG2:
        return str(module._psycopg.__file__)
    # in C, or in Python by ctypes
    inner = sys.modules[module.pq.PGconn.__module__]
    return str(inner.impl.pq._name if hasattr(inner, "impl") else inner.__file__)
