"""Specs, defaults and documentation say the same; a misspelt variable is found."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import rattail_schema_ext as filters
import rattail_schema_ext_mistakes as role_mistakes
import yaml

from conftest import ROLE, ROOT


def load(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPECS = load("meta/argument_specs.yml")["argument_specs"]
OPTIONS = SPECS["main"]["options"]
DEFAULTS = load("defaults/main.yml")


# those of single entry points, too
EVERY = {name: option for spec in SPECS.values() for name, option in spec["options"].items()}


def test_every_variable_has_a_default_and_a_spec() -> None:
    required = {name for name, spec in EVERY.items() if spec.get("required")}
    assert set(DEFAULTS) == set(EVERY) - required | {"rattail_schema_ext_app"}
    assert {name for name in required if name in OPTIONS} == {"rattail_schema_ext_app"}


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_default_and_type_agree(name: str) -> None:
    spec, value = EVERY[name], DEFAULTS[name]
    assert spec.get("default", "") == value
    kinds = {"str": str, "path": str, "bool": bool, "list": list, "dict": dict, "int": int, "float": int}
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


OF_AN_ENTRY_POINT = {
    "revert": {"revert_to", "revert_confirm"},
    "baseline": {"baseline_revision"},
    "revision": {
        f"revision_{name}" for name in ("message", "review", "review_dir", "merge", "fetch_to", "commit", "branch")
    },
}


def test_entry_points_share_their_variables() -> None:
    assert set(SPECS) == {"main", "status", *OF_AN_ENTRY_POINT}
    for entry_point, spec in SPECS.items():
        own = {f"rattail_schema_ext_{name}" for name in OF_AN_ENTRY_POINT.get(entry_point, ())}
        assert spec["options"].keys() - OPTIONS.keys() == own, entry_point
        assert {name: spec["options"][name] for name in OPTIONS} == OPTIONS, entry_point
        tasks = (ROLE / "tasks" / f"{entry_point}.yml").read_text(encoding="utf-8")
        assert [name for name in own if name not in tasks] == []


def test_modules_ask_for_the_same_as_the_role_hands_over() -> None:
    from ansible.module_utils.rattail_alembic.observe.request import argument_spec

    request = load("vars/main.yml")["__rattail_schema_ext_request"]
    assert set(request) == set(argument_spec())
    for name, spec in argument_spec().items():
        role = OPTIONS[f"rattail_schema_ext_{name}"]
        assert role["type"] == spec["type"], name
        assert role.get("choices") == spec.get("choices"), name
        if "default" in spec:
            assert role["default"] == spec["default"], name


MODULES = {
    "rattail_alembic_info": set(),
    "rattail_alembic_upgrade": set(),
    "rattail_alembic_revert": {"revert_to", "revert_confirm"},
    "rattail_alembic_baseline": {"baseline_revision"},
    "rattail_alembic_revision": {"message", "review", "review_dir", "merge", "commit", "branch"},
}


@pytest.mark.parametrize("module", MODULES)
def test_module_documentation_agrees_with_its_spec(module: str) -> None:
    from ansible.module_utils.rattail_alembic.observe.request import argument_spec

    documented = yaml.safe_load(__import__(module).DOCUMENTATION)["options"]
    spec = argument_spec()
    assert documented.keys() - spec.keys() == MODULES[module]
    documented = {name: documented[name] for name in spec}
    for name, option in documented.items():
        for key in ("type", "default", "choices", "elements", "required"):
            assert option.get(key) == spec[name].get(key), (name, key)


def test_readmes_are_in_step() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "document_variables.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def mistakes(*names: str, app: str = "poser", repo: str = "", option: str = "") -> str:
    return " ".join(role_mistakes.mistakes(names, str(ROLE), app, repo, option))


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


@pytest.mark.parametrize("option", ["postgresql://rattail:s3cret@db1/poser", "host=db1 password=s3cret"])
def test_a_url_in_place_of_its_name_is_refused_without_showing_it(option: str) -> None:
    found = mistakes(option=option)
    assert "database_option is a database URL" in found and "s3cret" not in found
    assert mistakes(option="rattail.db:migration.url") == ""


def test_last_words_are_short_and_without_passwords() -> None:
    output = "\n".join(["noise"] * 20 + ["Looking in indexes: https://me:s3cret@pip.example.com/simple", "ERROR: no"])
    words = filters.last_words(output)
    assert words.endswith("ERROR: no.") and "s3cret" not in words
    assert words.count("noise") == 3


@pytest.mark.parametrize(
    ("message", "words", "whole"),
    [
        ("add", "widget colour", "add widget colour"),
        ("add widget colour", "something else", "add widget colour"),
        ("add", None, "add"),
        ("", "", ""),
        (2026, "prices", "2026 prices"),
    ],
)
def test_a_message_without_its_quotes_is_put_together_again(message: object, words: str | None, whole: str) -> None:
    assert filters.whole_message(message, words) == whole
