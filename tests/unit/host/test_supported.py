"""The releases that the role works with: said in supported.toml, and the same wherever else they are said."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import pytest
import tomllib
from ansible.module_utils.rattail_alembic.host.distributions import RANGES, judge
from ansible.module_utils.rattail_alembic.problem import Refused
from packaging.requirements import Requirement

from conftest import ROOT

SUPPORTED = tomllib.loads((ROOT / "supported.toml").read_text())
DRIVERS = [*(("psycopg2", each) for each in ("2.8.6", "2.9.13 (dt dec pq3 ext lo64)")), ("psycopg", "3.3.4")]


def ends(name: str, version: str) -> str:
    with pytest.raises(Refused) as refused:
        judge({name: version})
    assert refused.value.problem.code == "release_too_old"
    assert f"{name} {version} is older than {RANGES[name][0]}" in refused.value.problem.cause
    return refused.value.problem.remedy


def test_the_role_refuses_by_what_the_file_says() -> None:
    assert {name: (each[0], each[-1]) for name, each in SUPPORTED["server"].items()} == RANGES


def test_the_controller_s_pythons_are_those_of_its_environment() -> None:
    spec = importlib.util.spec_from_file_location("make_env", ROOT / "scripts" / "make_env.py")
    assert spec and spec.loader
    make_env: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_env)
    pythons = SUPPORTED["controller"]["Python"]
    assert [tuple(map(int, pythons[n].split("."))) for n in (0, -1)] == [make_env.OLDEST, make_env.NEWEST]


@pytest.mark.parametrize("python", SUPPORTED["controller"]["Python"])
def test_each_of_them_gets_one_ansible_core_of_the_range(python: str) -> None:
    lines = [re.sub(r"\s*#.*", "", line) for line in (ROOT / "requirements.txt").read_text().splitlines()]
    named = [Requirement(line) for line in lines if line.startswith("ansible-core")]
    [found] = [each for each in named if not each.marker or each.marker.evaluate({"python_version": python})]
    [pinned] = found.specifier
    assert pinned.operator == "==" and pinned.version.rpartition(".")[0] in SUPPORTED["controller"]["ansible-core"]


@pytest.mark.parametrize(("name", "version"), [*((name, end) for name in RANGES for end in RANGES[name]), *DRIVERS])
def test_what_lies_in_the_range_is_fine(name: str, version: str) -> None:
    assert judge({name: version, "PostgreSQL": "15.4 (Debian 15.4-2.pgdg120+1)"}) == []


@pytest.mark.parametrize(
    ("name", "version", "remedy"),
    [
        ("Python", "3.8.18", "with Python 3.9 or later"),
        ("PostgreSQL", "12.22", "to PostgreSQL 13 or later"),
        ("pip", "20.3.4", "-m pip install 'pip>=21.3'"),
        ("Alembic", "1.6.5", "-m pip install 'Alembic~=1.7'"),
        ("SQLAlchemy", "1.3.24", "-m pip install 'SQLAlchemy~=1.4'"),
        ("psycopg2", "2.7.7 (dt dec pq3 ext lo64)", "-m pip install 'psycopg2~=2.8'"),
        ("psycopg", "3.0.18", "-m pip install 'psycopg~=3.1'"),
    ],
)
def test_what_is_too_old_is_refused_with_what_helps(name: str, version: str, remedy: str) -> None:
    assert remedy in ends(name, version)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({"Python": "3.15.0"}, "Python 3.15.0 (the newest tested is 3.14)"),
        ({"Alembic": "2.0"}, "Alembic 2.0 "),
        ({"PostgreSQL": "19beta1", "Alembic": "1.20.9", "Python": "3.16.1"}, "PostgreSQL 19beta1 "),
    ],
)
def test_what_is_newer_is_a_warning(found: Mapping[str, str], named: str) -> None:
    [warning] = judge(found)
    assert named in warning and warning.startswith("The role was not tested with ") and "1.20.9" not in warning
