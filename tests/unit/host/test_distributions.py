"""What is installed and whether it is enough: never another answer than importlib.metadata's and packaging's."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import tempfile
from pathlib import Path

import pytest
from ansible.module_utils.rattail_alembic.host import distributions, environment
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement
from packaging.version import InvalidVersion

VERSIONS = ["1", "1.0", "1.4.54", "2.0", "2.10", "0.9", "1.5rc1", "1.4.post1", "1.0+local", "1!1.0", "garbage", ""]
NAMES = ["core", "Some-Lib", "some.lib", "some_lib", "driver"]
CLAUSES = [
    "", "==1", "==1.4.*", "!=1.0", "<=2", ">=1.4", "<1.5,>=1.4", "<1.5", ">1", "~=1.4", "~=1.4.50", "~=1", "===1.0",
    "(>=1.4)", " >= 1.4 , < 3 ", ">=1.5rc1", "<2.0.0", " @ https://example.com/x.whl ", ">1.4.54", "!=2.10.0",
]  # fmt: skip
EXTRAS = ["", "[db]", "[DB]", "[db,web]", "[ web ]", "[no]"]
MARKERS = [
    "", "; extra == 'db'", '; extra=="db"', "; extra == 'DB'", "; extra == 'web'", "; python_version >= '3'",
    "; python_version < '3'", "; extra == 'db' and python_version < '3'", "; extra != 'db'", "; 'db' == extra",
    "; (extra == 'db')", "; sys_platform == 'nowhere' or extra == 'db'",
]  # fmt: skip
REQUIREMENTS = st.lists(
    st.builds("".join, st.tuples(*map(st.sampled_from, ([*NAMES, "absent"], EXTRAS, CLAUSES, MARKERS)))), max_size=3
)


def make(place: Path, name: str, version: str, requires: list[str], kind: str = "dist-info") -> str:
    """An installed distribution; the directory of its metadata."""
    directory = place / f"{name.replace('-', '_')}-{version}.{kind}"
    directory.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    file = "METADATA" if kind == "dist-info" else "PKG-INFO"
    (directory / file).write_text("\n".join(lines) + "\n\nVersion: 99\nRequires-Dist: absent\n")
    return str(directory)


def unmet(dist_info: str) -> list[str]:
    return list(environment._unmet(importlib.metadata.PathDistribution(Path(dist_info)).requires or ()))


@pytest.mark.property
@given(
    app=REQUIREMENTS,
    others=st.lists(
        st.tuples(*map(st.sampled_from, (["a", "b"], NAMES, VERSIONS, ["dist-info", "egg-info"])), REQUIREMENTS),
        max_size=5,
        unique_by=lambda other: other[:4],
    ),
)
@settings(max_examples=300, deadline=None)
def test_what_is_called_met_is_met(app: list[str], others: list[tuple[str, str, str, str, list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        place = Path(name)
        dist_info = make(place / "a", "poser", "1.0", app)
        for where, other, version, kind, requires in others:
            make(place / where, other, version, requires, kind)
        patch.setattr(sys, "path", [str(place / "a"), str(place / "b")])
        with contextlib.suppress(InvalidRequirement, InvalidVersion):  # on these packaging fails
            assert not distributions.surely_met(dist_info) or unmet(dist_info) == []


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("core", "1.5rc1"), ("core>=1.4", "1.4.54"), ("core<1.5,>=1.4", "1.4.54"), ("core >= 1.4", "1.9"),
        ("core==1.4", "1.4.0"), ("core (!=1.5)", "1.4"), ("core<2.10", "2.9"), ("core>1", "1.0.1"),
        ("core[db]", "1.0"), ("absent; extra == 'docs'", "1.0"),
    ],
)  # fmt: skip
def test_plain_cases_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirement: str, version: str) -> None:
    make(tmp_path, "core", version, ["driver>=2; extra == 'db'", "absent; python_version < '3'", "gone"])
    make(tmp_path, "driver", "2.9.1", [])
    dist_info = make(tmp_path, "poser", "1.0", [requirement])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert distributions.surely_met(dist_info)
    assert unmet(dist_info) == []


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("core>=1.4", "1.3.9"), ("core<1.5,>=1.4", "1.5"), ("core~=1.4", "2.0"), ("core~=1.4.5", "1.5"),
        ("core~=1.4.5", "1.4.4"),
        ("core==1.4", "1.4.1"), ("core!=1.4", "1.4.0"), ("core>1.0", "1"), ("core<1.0", "1"), ("core<=1.9", "1.10"),
        ("core[db]", "1.0"), ("absent", "1.0"),
    ],
)  # fmt: skip
def test_what_is_not_met_is_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirement: str, version: str
) -> None:
    make(tmp_path, "core", version, ["driver>=3; extra == 'db'"])
    make(tmp_path, "driver", "2.9.1", [])
    dist_info = make(tmp_path, "poser", "1.0", [requirement])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert not distributions.surely_met(dist_info)
    assert unmet(dist_info) != []


def test_versions_are_those_of_importlib() -> None:
    names = {found.metadata["Name"] for found in importlib.metadata.distributions()}
    assert len(names) > 20
    assert {name: distributions.version(name) for name in names} == {
        name: importlib.metadata.version(name) for name in names
    }
    assert distributions.version("no-such-distribution") is None


def test_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, version in (("one", "1.0"), ("two", "2.0")):
        make(tmp_path / where, "Some-Lib", version, [])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two"), *sys.path])
    assert distributions.version("some.lib") == importlib.metadata.version("some.lib") == "1.0"
    make(tmp_path / "one", "some_lib", "3.0", [], "egg-info")
    assert distributions._installed()["some_lib"] == ""
