"""For any tree of config files: the URL that the real ``make_config`` comes to, or none where it fails."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from ansible.module_utils.rattail_alembic.config.database_url import Unsure, database_url
from ansible.module_utils.rattail_alembic.cores import CORES, Core
from ansible.module_utils.rattail_alembic.postgres.url import parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
from hypothesis import event, given, settings
from hypothesis import strategies as st
from settings_oracle import real_arguments, real_url, surroundings
from sqlalchemy.engine import make_url

pytestmark = pytest.mark.property

FILES = ("main.conf", "a.conf", "sub/b.conf", "c d.conf")
CORE = st.sampled_from(list(CORES.values()))


def urls(dialects: list[str]) -> st.SearchStrategy[str]:
    """URLs as they stand in a config file, escaped, and each unlike the others."""
    password = st.sampled_from(["", ":p", ":p%%40x", ":%(secret)s", ":%%25 é"])
    return st.builds(
        "{}://u{}@h{}{}/d{}".format,
        st.sampled_from(dialects),
        password,
        st.integers(1, 99),
        st.sampled_from(["", ":5432"]),
        st.sampled_from(["", "?sslmode=require", "?host=%(here)s", "?options=-c%%20x"]),
    )


LISTS = st.lists(
    st.sampled_from([*FILES, "%(here)s/a.conf", "'c d.conf'", '"sub/b.conf"']), max_size=2, unique=True
).map(", ".join)
PLAIN_LISTS = st.lists(
    st.sampled_from(["main.conf", "a.conf", "sub/b.conf", "'c d.conf'", "%(here)s/a.conf", "missing.conf"]), max_size=3
).map(" ".join)


@st.composite
def plain_files(draw: st.DrawFn, prefix: str) -> str:
    """A config file as people write it: a secret to interpolate, includes, and perhaps a URL."""
    text = f"[DEFAULT]\nsecret = s%%%%{draw(st.integers(1, 9))}\n\n[{prefix}]\nnode_title = Poser\n\n"
    if draw(st.booleans()):
        text += f"[{prefix}.config]\ninclude = {draw(PLAIN_LISTS)}\n"
        if draw(st.booleans()):
            text += "require = " + draw(st.sampled_from(["a.conf", "a.conf, 'c d.conf'", "sub/b.conf"])) + "\n"
    if draw(st.integers(0, 2)):
        text += f"[{prefix}.db]\n"
        if draw(st.booleans()):
            text += "keys = " + draw(st.sampled_from(["default", "default, host", "host, default", "host"])) + "\n"
        for name in draw(st.lists(st.sampled_from(["default", "host", "sqlalchemy"]), unique=True, min_size=1)):
            text += f"{name}.url = {draw(urls(['postgresql', 'postgresql+psycopg2']))}\n"
        text += draw(st.sampled_from(["", "default.pool_pre_ping = true\n", "default.echo = false\n"]))
    text += "\n[formatter_generic]\nformat = %(asctime)s %(levelname)-5.5s %(message)s\n"
    return text


# What may have a meaning to the machinery, likely or not, and where.
URLS = ["default.url", "default.url", "sqlalchemy.url", "host.url", "db.default.url", "url", "x.url"]
OTHERS = ["keys", "db.keys", "keys.more", "include", "require", "config.include", "secret", "db", "default"]
ENGINE = ["default.echo", "default.poolclass", "default.pool_size", "default.record_changes", "default.x"]


@st.composite
def odd_files(draw: st.DrawFn, prefix: str) -> str:
    """A config file in which anything may be anywhere."""
    places = [f"{prefix}.db", f"{prefix}.db", prefix, f"{prefix}.config", "DEFAULT", "other"]
    rare = [f"{prefix}.db.default", f"{prefix}.db.keys"]
    seldom = st.integers(0, 15).map(lambda number: number == 9)  # Hypothesis is fond of the ends
    text = "[DEFAULT]\nsecret = %%40\n"
    if draw(st.booleans()):
        text += f"[{prefix}.db]\n{draw(st.sampled_from(URLS))} = {draw(urls(['postgresql']))}\n"
        places = places[2:]
    for section in draw(st.lists(st.sampled_from(rare if draw(seldom) else places), max_size=3, unique=True)):
        text += f"[{section}]\n"
        names = st.sampled_from(URLS) | st.sampled_from(ENGINE if draw(seldom) else URLS) | st.sampled_from(OTHERS)
        for option in draw(st.lists(names, max_size=4, unique=not draw(seldom))):
            if option.endswith("url"):
                value = draw(urls(["postgresql", "sqlite" if draw(seldom) else "postgresql+psycopg2"]))
            elif option.endswith(("include", "require")):
                value = draw(st.sampled_from(["missing.conf", "'", "#x", "/"])) if draw(seldom) else draw(LISTS)
            elif option.endswith("keys"):
                value = draw(st.sampled_from(["default", "host, default", "default,host,", "'default'", "", "x"]))
            else:
                value = draw(st.sampled_from(["1", "true", "x", "", "%(here)s", "sqlalchemy.pool:NullPool"]))
            if draw(seldom):
                value = draw(st.sampled_from(["", "%", "%(nowhere)s", "#"]))
            text += f"{option} = {value}\n" + draw(st.sampled_from(["", "", "", "\n", "# note\n"]))
            text += "  more\n" if draw(seldom) else ""
    return text


@st.composite
def trees(draw: st.DrawFn, plain: bool) -> tuple[Core, dict[str, str], dict[str, str]]:
    """A core, files by name, and environment variables."""
    core = draw(CORE)
    one = plain_files(core.config_prefix) if plain else odd_files(core.config_prefix)
    files = {name: draw(one) for name in FILES}
    environ: dict[str, str] = {}
    for name in ("RATTAIL_CONFIG_PLUS_FILES", "WUTTA_CONFIG_PLUS_FILES"):
        if draw(st.integers(0, 3)) == 0:
            environ[name] = draw(st.sampled_from(["a.conf", f"sub/b.conf{os.pathsep}c d.conf"]))
            if not plain and draw(st.integers(0, 7)) == 5:
                environ[name] = draw(st.sampled_from(["", "missing.conf"]))
    return core, files, environ


def compare(tree: tuple[Core, dict[str, str], dict[str, str]]) -> str:
    """What became of it: ``answered``, ``unsure`` or ``refused``, each held against the app's own answer."""
    core, files, environ = tree
    with tempfile.TemporaryDirectory() as directory, surroundings(Path(directory), environ):
        Path("sub").mkdir()
        for name, text in files.items():
            Path(name).write_text(text, encoding="utf-8")
        path = os.path.abspath("main.conf")
        logging.disable(logging.WARNING)
        try:
            theirs = real_url(core, path)
        except Exception as error:
            theirs = None
            event(f"the app fails: {type(error).__name__}")
        finally:
            logging.disable(logging.NOTSET)
        try:
            ours = database_url(path, core, os.environ)
            target = parse_url(ours)
        except Unsure:
            return "unsure"
        except Refused as refused:
            event(refused.problem.code)
            assert theirs is None or theirs.drivername == "sqlite", (theirs, str(refused))
            return "refused"
        assert theirs is not None, ours
        assert make_url(ours) == theirs
        assert target.connect_kwargs() == real_arguments(theirs)
        return "answered"


@settings(max_examples=250, deadline=None)
@given(trees(plain=False))
def test_never_another_answer_than_the_apps(tree: tuple[Core, dict[str, str], dict[str, str]]) -> None:
    event(compare(tree))


def test_plain_files_are_answered_and_never_left_to_the_app() -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=100, deadline=None, database=None)
    @given(trees(plain=True))
    def each(tree: tuple[Core, dict[str, str], dict[str, str]]) -> None:
        outcomes[compare(tree)] += 1

    each()
    assert outcomes["unsure"] == 0
    assert outcomes["answered"] > 15, outcomes
