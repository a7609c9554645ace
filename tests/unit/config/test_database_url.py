"""The database URL of a config file, held against the real ``make_config``."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from ansible.module_utils.rattail_alembic.config.database_url import Unsure, database_url
from ansible.module_utils.rattail_alembic.cores import CORES
from ansible.module_utils.rattail_alembic.problem import Refused
from settings_oracle import real_url, surroundings
from sqlalchemy.engine import make_url

RATTAIL, WUTTA = CORES["rattail"], CORES["wutta"]
URL = "postgresql://rattail:s3cr%%40t@localhost:5432/poser?sslmode=require"


def write(directory: Path, files: dict[str, str]) -> str:
    """The files below ``directory``, of which the first is the app's; its path."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return str(directory / next(iter(files)))


ANSWERED = {
    "as the manual has it": {"f": f"[rattail.db]\nkeys = default\ndefault.url = {URL}\n"},
    "without keys": {"f": f"[rattail.db]\ndefault.url = {URL}\n"},
    "by the old name": {"f": f"[rattail.db]\nsqlalchemy.url = {URL}\n"},
    "both names": {"f": f"[rattail.db]\nsqlalchemy.url = postgresql://old/x\ndefault.url = {URL}\n"},
    "in the section above": {"f": f"[rattail]\ndb.default.url = {URL}\n"},
    "from [DEFAULT]": {"f": f"[DEFAULT]\ndefault.url = {URL}\n[rattail.db]\n"},
    "quoted keys": {"f": f"[rattail.db]\nkeys = 'default', \"default\"\ndefault.url = {URL}\n"},
    "another database beside it": {
        "f": f"[rattail.db]\nkeys = host default\ndefault.url = {URL}\nhost.url = postgresql://h/x\n"
    },
    "with harmless options": {
        "f": f"""\
        [rattail.db]
        default.url = {URL}
        default.record_changes = true
        default.pool_pre_ping = true
        default.echo = false
        """
    },
    "from a required file": {
        "f": "[rattail.config]\nrequire = %(here)s/sub/g\n",
        "sub/g": f"[rattail.db]\ndefault.url = {URL}\n",
    },
    "from an included file, relative to the working directory": {
        "f": "[rattail.config]\ninclude = missing, 'sub/a b'\n",
        "sub/a b": f"[rattail.db]\ndefault.url = {URL}\n",
    },
    "the file itself before what it includes": {
        "f": f"[rattail.config]\ninclude = g\n[rattail.db]\ndefault.url = {URL}\n",
        "g": "[rattail.db]\ndefault.url = postgresql://old/x\n",
    },
    "what is required before what is included": {
        "f": "[rattail.config]\ninclude = g\nrequire = h\n",
        "g": "[rattail.db]\ndefault.url = postgresql://old/x\n",
        "h": f"[rattail.db]\ndefault.url = {URL}\n",
    },
    "files that include each other": {
        "f": "[rattail.config]\ninclude = g\n",
        "g": f"[rattail.config]\ninclude = f, h\n[rattail.db]\ndefault.url = {URL}\n",
        "h": "[rattail.db]\ndefault.url = postgresql://old/x\n",
    },
    "with interpolation": {
        "f": "[rattail.db]\npassword = 50%%25\ndefault.url = postgresql://u:%(password)s@/x?host=%(here)s\n"
    },
    "beside a formatter that cannot be interpolated": {
        "f": f"[formatter_generic]\nformat = %(asctime)s %%%\n[rattail.db]\ndefault.url = {URL}\n"
    },
    "a list of keys overshadowed by settings below it": {
        "f": f"[rattail.db]\nkeys = host\nkeys.x = 1\ndefault.url = {URL}\n"
    },
}


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize("files", ANSWERED.values(), ids=list(ANSWERED))
def test_answers_as_rattail_does(files: dict[str, str], extend: bool, tmp_path: Path) -> None:
    path = write(tmp_path, files)
    with surroundings(tmp_path, {}):
        ours = database_url(path, RATTAIL, os.environ)
        assert make_url(ours) == real_url(RATTAIL, path, extend=extend)
    assert "old" not in ours


@pytest.mark.parametrize("core", CORES.values(), ids=list(CORES))
def test_each_core_has_its_own_sections_and_variables(core: object, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "f": "[rattail.config]\ninclude = r\n[wutta.config]\ninclude = w\n",
            "r": "[rattail.db]\ndefault.url = postgresql://r/x\n",
            "w": "[wutta.db]\nkeys = default\n",
            "plus": "[wutta.db]\ndefault.url = postgresql://plus/x\n",
        },
    )
    environ = {"WUTTA_CONFIG_PLUS_FILES": f"plus{os.pathsep}r", "WUTTA_CONFIG_FILES": "nowhere"}
    with surroundings(tmp_path, environ):
        ours = database_url(path, core, os.environ)  # type: ignore[arg-type]
        assert make_url(ours) == real_url(core, path)  # type: ignore[arg-type]
    assert ours == ("postgresql://plus/x" if core is WUTTA else "postgresql://r/x")


REFUSED = {
    "nothing there": ("database_unconfigured", "in section [rattail.db] of", {"f": "[rattail]\nx = 1\n"}),
    "an empty URL": ("database_unconfigured", "default.url = postgresql://", {"f": "[rattail.db]\ndefault.url =\n"}),
    "default is not among the keys": (
        "database_unconfigured",
        "Add default to the list keys in section",
        {"f": f"[rattail.db]\nkeys = host\ndefault.url = {URL}\nhost.url = {URL}\n"},
    ),
    "the keys are a comment": (
        "database_unconfigured",
        "Add default",
        {"f": f"[rattail.db]\nkeys = #\ndefault.url = {URL}\n"},
    ),
    "a required file is missing": ("config_require_missing", "which", {"f": "[rattail.config]\nrequire = g\n"}),
    "a percent sign": ("config_interpolation", "Write %%", {"f": "[a]\nx = secret%\n"}),
    "a quote": ("config_quote", "Close it", {"f": "[rattail.config]\ninclude = 'g\n"}),
    "no header": ("config_syntax", "line 1", {"f": "x = secret\n"}),
    "a line without =": ("config_syntax", "line 2", {"f": "[a]\nsecret\n"}),
    "a section twice": ("config_duplicate", "line 2", {"f": "[a]\n[a]\n"}),
}


@pytest.mark.parametrize(("code", "says", "files"), REFUSED.values(), ids=list(REFUSED))
def test_refuses_where_rattail_fails(code: str, says: str, files: dict[str, str], tmp_path: Path) -> None:
    path = write(tmp_path, files)
    with surroundings(tmp_path, {}):
        with pytest.raises(Refused) as caught:
            database_url(path, RATTAIL, {})
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, the app does not start
            real_url(RATTAIL, path)
    assert caught.value.problem.code == code
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_refuses_what_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"[a]\n# caf\xe9\n")
    with pytest.raises(Refused) as caught:
        database_url(str(path), RATTAIL, {})
    assert caught.value.problem.code == "config_encoding"


UNSURE = {
    "a section of its own, whose here becomes an option of the engine": f"[rattail.db.default]\nurl = {URL}\n",
    "an option that may be anything": f"[rattail.db]\ndefault.url = {URL}\ndefault.connect_args = x\n",
    "a number that is none": f"[rattail.db]\ndefault.url = {URL}\ndefault.pool_size = many\n",
    "a pool of the app's": f"[rattail.db]\ndefault.url = {URL}\ndefault.poolclass = poser.pool:Pool\n",
    "a pool without a URL": f"[rattail.db]\ndefault.poolclass = poser.pool:Pool\nsqlalchemy.url = {URL}\n",
    "a plugin": f"[rattail.db]\ndefault.url = {URL}&plugin=x\n",
    "another database that cannot be had": f"[rattail.db]\nkeys = default x\ndefault.url = {URL}\nx.url = mysql://h/x\n",
    "a value where a section should be": "[rattail]\ndb = x\n",
}


@pytest.mark.parametrize("text", UNSURE.values(), ids=list(UNSURE))
def test_leaves_to_rattail_what_is_not_reproduced(text: str, tmp_path: Path) -> None:
    with pytest.raises(Unsure) as caught:
        database_url(write(tmp_path, {"f": text}), RATTAIL, {})
    assert str(caught.value)
    assert "s3cr" not in str(caught.value)


def test_rattails_own_option_is_unknown_to_wutta(tmp_path: Path) -> None:
    path = write(tmp_path, {"f": f"[wutta.db]\ndefault.url = {URL}\ndefault.record_changes = true\n"})
    with pytest.raises(Unsure):
        database_url(path, WUTTA, {})


@pytest.mark.parametrize(("release", "sure"), [("0.16.0", False), ("0.18.1", True), ("1.0", True)])
def test_leaves_old_releases_to_themselves(
    release: str, sure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        {
            "f": f"[rattail.db]\ndefault.url = {URL}\n",
            f"WuttJamaican-{release}.dist-info/METADATA": f"Name: WuttJamaican\nVersion: {release}\n",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    if sure:
        assert database_url(path, RATTAIL, {})
    else:
        with pytest.raises(Unsure, match=release):
            database_url(path, RATTAIL, {})
