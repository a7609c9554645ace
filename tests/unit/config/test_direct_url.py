"""The URL for migrations, which a role variable names the place of."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from ansible.module_utils.rattail_alembic.config.database_url import database_url, direct_url
from ansible.module_utils.rattail_alembic.cores import CORES
from ansible.module_utils.rattail_alembic.problem import Refused
from settings_oracle import real_url, surroundings

RATTAIL, WUTTA = CORES["rattail"], CORES["wutta"]
URL = "postgresql://rattail:s3cr%%40t@db1:5432/poser"
POOLED = "postgresql://rattail:s3cr%%40t@db1:6432/poser"
OPTION = "rattail.db:migration.url"


def write(directory: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (directory / name).write_text(dedent(text))
    return str(directory / next(iter(files)))


FOUND = {
    "beside the app's own": (OPTION, {"f": f"[rattail.db]\ndefault.url = {POOLED}\nmigration.url = {URL}\n"}),
    "in an included file": (
        OPTION,
        {"f": "[rattail.config]\ninclude = %(here)s/g\n", "g": f"[rattail.db]\nmigration.url = {URL}\n"},
    ),
    "the file itself before what it includes": (
        OPTION,
        {
            "f": f"[rattail.config]\ninclude = %(here)s/g\n[rattail.db]\nmigration.url = {URL}\n",
            "g": f"[rattail.db]\nmigration.url = {POOLED}\n",
        },
    ),
    "in a section of its own": ("migration:URL", {"f": f"[migration]\nUrl = {URL}\n"}),
    "with spaces": (" rattail.db : migration.url ", {"f": f"[rattail.db]\nmigration.url = {URL}\n"}),
    "with interpolation": (OPTION, {"f": f"[DEFAULT]\nhost = db1\n[rattail.db]\nmigration.url = "
                                         f"{URL.replace('db1', '%(host)s')}\n"}),
}  # fmt: skip


@pytest.mark.parametrize(("option", "files"), FOUND.values(), ids=list(FOUND))
def test_is_found_where_the_apps_own_settings_are(option: str, files: dict[str, str], tmp_path: Path) -> None:
    assert direct_url(write(tmp_path, files), RATTAIL, {}, option) == URL.replace("%%", "%")


def test_is_found_in_the_files_of_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, {"f": "[wutta]\n", "g": f"[wutta.db]\nmigration.url = {URL}\n"})
    environ = {"WUTTA_CONFIG_PLUS_FILES": str(tmp_path / "g")}
    assert direct_url(path, WUTTA, environ, "wutta.db:migration.url") == URL.replace("%%", "%")


def test_says_nothing_to_the_app(tmp_path: Path) -> None:
    """The example that the remedy gives is no database of the app's, nor an option of one."""
    path = write(tmp_path, FOUND["beside the app's own"][1])
    with surroundings(tmp_path, {}):
        assert str(real_url(RATTAIL, path).port) == "6432"
        assert ":6432/" in database_url(path, RATTAIL, {})


REFUSED = {
    "not there": ("database_option_missing", ["migration.url", "[rattail.db]", "Add"], OPTION, "[rattail.db]\n"),
    "empty": ("database_option_missing", ["migration.url"], OPTION, "[rattail.db]\nmigration.url =\n"),
    "no URL": (
        "database_url_invalid",
        ["migration.url in [rattail.db] cannot be used"],
        OPTION,
        "[rattail.db]\nmigration.url = host=db1 password=s3cret\n",
    ),
    "another kind of database": (
        "database_unsupported",
        ["migration.url in [rattail.db] is of mysql://", "postgresql://"],
        OPTION,
        "[rattail.db]\nmigration.url = mysql://u:s3cret@h/d\n",
    ),
    "no section": ("database_option_invalid", ["section:option"], "migration.url", "[rattail.db]\n"),
    "no option": ("database_option_invalid", ["section:option"], "rattail.db:", "[rattail.db]\n"),
    "a URL in the variable": (
        "database_option_invalid",
        ["the URL itself stays in the host's config"],
        "postgresql://u:s3cret@h/d",
        "[rattail.db]\n",
    ),
}


@pytest.mark.parametrize(("code", "says", "option", "text"), REFUSED.values(), ids=list(REFUSED))
def test_is_refused_in_a_sentence(code: str, says: list[str], option: str, text: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"f": text})
    with pytest.raises(Refused) as caught:
        direct_url(path, RATTAIL, {}, option)
    assert caught.value.problem.code == code
    for words in says:
        assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)
