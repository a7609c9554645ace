"""Specs, defaults and documentation say the same; a misspelt variable is found."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from conftest import ROLE, ROOT

sys.path.insert(0, str(ROLE / "filter_plugins"))
import rattail_schema_ext as filters


def load(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPECS = load("meta/argument_specs.yml")["argument_specs"]
OPTIONS = SPECS["main"]["options"]
DEFAULTS = load("defaults/main.yml")


def test_every_variable_has_a_default_and_a_spec() -> None:
    required = {name for name, spec in OPTIONS.items() if spec.get("required")}
    assert set(DEFAULTS) == set(OPTIONS)
    assert required == {"rattail_schema_ext_app"}


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_default_and_type_agree(name: str) -> None:
    spec, value = OPTIONS[name], DEFAULTS[name]
    assert spec.get("default", "") == value
    kinds = {"str": str, "path": str, "bool": bool, "list": list, "int": int}
    assert type(value) is kinds[spec["type"]]


def test_every_default_has_a_comment() -> None:
    lines = (ROLE / "defaults" / "main.yml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("rattail_schema_ext_after_tasks"):
            continue  # explained together with before_tasks
        if line.startswith("rattail_schema_ext_"):
            assert lines[number - 1].startswith("# "), line


def test_every_variable_is_read_somewhere() -> None:
    """A variable that nothing honours is not there yet."""
    text = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("tasks", "vars", "handlers", "templates")
        for path in (ROLE / folder).iterdir()
    )
    assert [name for name in OPTIONS if not re.search(rf"\b{name}\b", text)] == []


def test_entry_points_share_their_variables() -> None:
    assert {name: spec["options"] == OPTIONS for name, spec in SPECS.items()} == dict.fromkeys(SPECS, True)
    entry_points = {"main", "status"}
    assert set(SPECS) == entry_points


def test_modules_ask_for_the_same_as_the_role_hands_over() -> None:
    from ansible.module_utils.rattail_alembic.request import argument_spec

    request = load("vars/main.yml")["__rattail_schema_ext_request"]
    assert set(request) == set(argument_spec())
    for name, spec in argument_spec().items():
        role = OPTIONS[f"rattail_schema_ext_{name}"]
        assert role["type"] == spec["type"], name
        assert role.get("choices") == spec.get("choices"), name
        if "default" in spec:
            assert role["default"] == spec["default"], name


@pytest.mark.parametrize("module", ["rattail_alembic_info", "rattail_alembic_upgrade"])
def test_module_documentation_agrees_with_its_spec(module: str) -> None:
    from ansible.module_utils.rattail_alembic.request import argument_spec

    documented = yaml.safe_load(__import__(module).DOCUMENTATION)["options"]
    spec = argument_spec()
    assert set(documented) == set(spec)
    for name, option in documented.items():
        for key in ("type", "default", "choices", "elements", "required"):
            assert option.get(key) == spec[name].get(key), (name, key)


def test_readmes_are_in_step() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "document_variables.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def mistakes(*names: str, app: str = "poser", repo: str = "") -> str:
    return " ".join(filters.mistakes(names, str(ROLE), app, repo))


def test_known_names_are_no_mistakes() -> None:
    assert mistakes(*OPTIONS, "rattail_schema_ext_result", "rattail_schema_ext_results") == ""


def test_a_misspelt_name_gets_the_nearest_right_one() -> None:
    assert "Did you mean rattail_schema_ext_source_version?" in mistakes("rattail_schema_ext_source_verison")
    assert "Did you mean rattail_schema_ext_env_dir?" in mistakes("rattail_schema_ext_envdir")


def test_an_app_that_is_not_set_is_asked_for_beside_the_name_that_was_meant() -> None:
    assert mistakes("rattail_schema_ext_ap", app="") == (
        "There is no variable rattail_schema_ext_ap. Did you mean rattail_schema_ext_app?"
        " rattail_schema_ext_app is not set. Set it to the app's Python package, e.g. poser."
    )


@pytest.mark.parametrize(
    "repo",
    [
        "https://token@git.example.com/poser.git",
        "https://me:s3cret@git.example.com/poser.git",
        "HTTPS://oauth2:s3cret@git.example.com/poser.git",
        "ssh://git:s3cret@git.example.com/poser.git",
    ],
)
def test_credentials_in_the_repository_are_refused_without_showing_them(repo: str) -> None:
    found = mistakes(repo=repo)
    assert "has credentials in it" in found
    assert "s3cret" not in found and "token@" not in found


@pytest.mark.parametrize(
    "repo",
    ["git@git.example.com:p.git", "ssh://git@git.example.com:2222/p.git", "https://git.example.com/p.git", "/srv/git"],
)
def test_a_login_name_is_no_secret(repo: str) -> None:
    assert mistakes(repo=repo) == ""


def test_last_words_are_short_and_without_passwords() -> None:
    output = "\n".join(["noise"] * 20 + ["Looking in indexes: https://me:s3cret@pip.example.com/simple", "ERROR: no"])
    words = filters.last_words(output)
    assert words.endswith("ERROR: no.") and "s3cret" not in words
    assert words.count("noise") == 3
