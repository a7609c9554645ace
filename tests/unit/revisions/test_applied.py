"""What is kept of applied revisions, read as something that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rattail_alembic.problem import Refused
from ansible.module_utils.rattail_alembic.revisions import applied
from ansible.module_utils.rattail_alembic.revisions.applied import Applied

WHOLE = Applied(("c1",), ("c9", "poser"), ("poser",), "00ff", "c2_add.py", "2026-11-28T01:02:03Z", "feedfacecafe")


def test_it_is_read_as_it_was_written() -> None:
    written = json.loads(json.dumps({"c2": WHOLE._asdict(), "c1": {"down_revision": []}}))
    assert applied.read(written) == {"c2": WHOLE, "c1": Applied(())}


def test_once_it_was_checksums_alone(tmp_path: Path) -> None:
    (tmp_path / "poser.checksums.json").write_text('{"revisions": {"c2": "00ff"}}')
    assert applied.read_file(str(tmp_path), "poser") == {"c2": Applied(checksum="00ff")}
    assert applied.read_file(str(tmp_path), "other") == {}


@pytest.mark.parametrize(
    "entries",
    [
        None, "", 7, [], ["c2"], {"c2": None}, {"c2": 7}, {"c2": []}, {"c2": {"checksum": 7}},
        {"c2": {"down_revision": "c1"}}, {"c2": {"depends_on": {"c1": "c0"}}}, {"c2": {"commit": ["a"]}},
    ],
)  # fmt: skip
def test_what_nobody_wrote_who_knows_it_is_refused(entries: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        applied.read(entries)
    (tmp_path / "poser.checksums.json").write_text(json.dumps({"revisions": entries}))
    with pytest.raises(Refused, match=r"poser\.checksums\.json cannot be read"):
        applied.read_file(str(tmp_path), "poser")


def test_a_commit_is_shown_only_where_it_is_one() -> None:
    for commit, shown in (("feedfacecafe", True), ("\x1b[2J", False), ("{{ x }}", False), ("main; rm -rf /", False)):
        assert applied.commit_of(Applied(commit=commit)) == (commit if shown else "")
