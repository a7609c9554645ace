"""The app's own answer: the database that the real ``make_config`` comes to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

from ansible.module_utils.rattail_alembic.cores import Core


@contextmanager
def surroundings(directory: os.PathLike[str], environ: Mapping[str, str]) -> Iterator[None]:
    """A working directory and environment variables, for a while."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        with mock.patch.dict(os.environ, environ):
            yield
    finally:
        os.chdir(before)


def real_url(core: Core, config_file: str, *, extend: bool = False) -> Any:
    """SQLAlchemy's URL of the app database; whatever the app raises where it has none."""
    arguments: dict[str, Any] = {"usedb": False, "extend": extend}
    if core.name == "rattail":
        arguments["versioning"] = False
    with warnings.catch_warnings():
        config = import_module(core.make_config).make_config(config_file, **arguments)
    if config.appdb_engine is None:
        raise LookupError("no database")
    return config.appdb_engine.url


def real_arguments(url: Any) -> dict[str, str]:
    """What SQLAlchemy would give to ``psycopg2.connect``, as strings, with libpq's name for the database."""
    arguments = url.get_dialect()().create_connect_args(url)[1]
    return {"dbname" if name == "database" else name: str(value) for name, value in arguments.items()}


def without_empty_ports(arguments: dict[str, str]) -> dict[str, str]:
    """The arguments without a port of commas alone, which is as good as none; 2.0 gives it where 1.4 does not."""
    return {name: value for name, value in arguments.items() if name != "port" or value.strip(",")}
