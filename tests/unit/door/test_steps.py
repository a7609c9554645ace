"""The script that is fetched: from where, and what its name may be."""

from __future__ import annotations

import pytest
from rattail_schema_ext_door.steps import not_a_script

NEW = "0123456789ab"
BELOW = ["/srv/poser/src/poser", "/srv/poser/"]


@pytest.mark.parametrize(
    ("path", "revision"),
    [
        ("/srv/poser/src/poser/authorized_keys", NEW),
        ("/srv/poser/src/poser/conftest.py", NEW),
        ("/srv/poser/src/poser/conftest.py", "conftest"),
        ("/srv/poser/src/poser/.0123456789ab.py", NEW),
        ("/srv/poser/src/poser/0123456789ab.py/../../../../../etc/0123456789ab.py", NEW),
        ("/srv/poser/src/../../0123456789ab.py", NEW),
        ("/etc/0123456789ab_x.py", NEW),
        ("/srv/poser-other/0123456789ab_x.py", NEW),
        ("/srv/poser/src/poser/0123456789ab x.py", NEW),
        ("/srv/poser/src/poser/-0123456789ab.py", NEW),
        ("/srv/poser/src/poser/0123456789ab.py\n", NEW),
        ("", NEW),
        ("/srv/poser/src/poser/ä0123456789ab.py", NEW),
        ("/srv/poser/src/poser/0123456789ab_x.py", "../0123456789"),
        ("0123456789ab_x.py", NEW),
    ],
)
def test_what_is_no_script_of_the_app_s_is_named(path: str, revision: str) -> None:
    assert not_a_script(revision, path, BELOW) != []


@pytest.mark.parametrize("name", [f"{NEW}_add_crates.py", f"{NEW}.py", f"2024_01_02-{NEW}_add.py"])
def test_a_script_keeps_its_name(name: str) -> None:
    for place in ("/srv/poser/src/poser/poser/db/alembic/versions", "/srv/poser/lib/python3.11/site-packages/x"):
        assert not_a_script(NEW, f"{place}/{name}", BELOW) == []
