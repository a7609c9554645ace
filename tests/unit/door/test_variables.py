"""Variables, results and their documentation say the same; a value that is wrong is found, in a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest
import yaml
from ansible.module_utils.rattail_alembic.observe.answer import OF_ANSIBLE, Answer
from ansible.module_utils.rattail_alembic.observe.request import argument_spec
from rattail_schema_ext_door import variables

from conftest import ROLE, ROOT

PREFIX = "rattail_schema_ext_"


def load(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPECS = variables.specs()
OPTIONS = SPECS["main"]
EVERY = variables.known()
DEFAULTS = load("defaults/main.yml")


def test_every_variable_has_a_default_and_a_spec() -> None:
    required = {name for name, spec in EVERY.items() if spec.get("required")}
    assert set(DEFAULTS) == set(EVERY) - required | {f"{PREFIX}app"}
    assert {name for name in required if name in OPTIONS} == {f"{PREFIX}app"}


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_default_and_type_agree(name: str) -> None:
    spec, value = EVERY[name], DEFAULTS[name]
    assert spec.get("default", "") == value
    kinds = {"str": str, "path": str, "bool": bool, "list": list, "dict": dict, "int": int, "float": int}
    assert type(value) is kinds[spec["type"]]


def test_every_variable_is_read_somewhere() -> None:
    """A variable that nothing honours is not there yet."""
    folders = ("tasks", "vars", "handlers", "templates")
    text = "".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROLE / folder).iterdir())
    asked = {PREFIX + name for name in argument_spec()}
    assert [name for name in EVERY if name not in asked and not re.search(rf"\b{name}\b", text)] == []


def test_each_entry_point_is_a_file_of_tasks_and_has_the_common_variables() -> None:
    for entry_point, options in SPECS.items():
        assert (ROLE / "tasks" / f"{entry_point}.yml").exists()
        assert {name: options[name] for name in OPTIONS} == OPTIONS, entry_point


def test_no_entry_point_is_judged_by_ansible_itself() -> None:
    assert [name for name in load("meta/argument_specs.yml")["argument_specs"] if not name.startswith("tasks/")] == []


@pytest.mark.parametrize("name", argument_spec())
def test_a_request_asks_for_what_is_described(name: str) -> None:
    option, spec = EVERY[PREFIX + name], argument_spec()[name]
    assert option["type"] == spec["type"]
    assert option.get("choices") == spec.get("choices")
    if "default" in spec and "default" in option and "{{" not in str(option["default"]):
        assert option["default"] == spec["default"]


@pytest.mark.parametrize("module", ["rattail_alembic", "rattail_alembic_info"])
def test_modules_document_their_options_and_their_results(module: str) -> None:
    text = (ROLE / "library" / f"{module}.py").read_text(encoding="utf-8")
    found = {name: yaml.safe_load(re.search(rf'^{name} = r"""(.*?)"""', text, re.M | re.S)[1])  # type: ignore[index]
             for name in ("DOCUMENTATION", "RETURN")}  # fmt: skip
    options = found["DOCUMENTATION"]["options"]
    assert options.keys() - argument_spec().keys() == ({"command"} if module == "rattail_alembic" else set())
    for name, spec in argument_spec().items():
        described = {key: value for key, value in options[name].items() if key != "description"}
        assert described == spec, name
    keys = {each.name for each in fields(Answer) if each.name not in OF_ANSIBLE}
    if module != "rattail_alembic":
        keys -= {each.name for each in fields(Answer) if each.metadata["change"]}
    assert found["RETURN"]["answer"]["contains"].keys() == keys


def test_what_is_written_from_there_is_in_step() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "document.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def wrong(entry_point: str = "main", **given: Any) -> str:
    values = {PREFIX + name: value for name, value in {"app": "poser", **given}.items()}
    return " ".join(variables.judge(entry_point, values, lambda value: value)[1])


def read(**given: Any) -> dict[str, Any]:
    values = {PREFIX + name: value for name, value in {"app": "poser", **given}.items()}
    found, mistakes = variables.judge("main", values, lambda value: value)
    assert mistakes == []
    return found


def test_known_names_are_no_mistakes() -> None:
    assert wrong(result={}, results={}) == ""
    assert variables.unknown(EVERY) == []


def test_a_misspelt_name_gets_the_nearest_right_one() -> None:
    assert "Did you mean rattail_schema_ext_source_version?" in wrong(source_verison="v1")
    assert "Did you mean rattail_schema_ext_env_dir?" in wrong(envdir="/srv")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rattail_schema_source_version", "source_version"),
        ("rattail_schema_extsource_version", "source_version"),
        ("ratail_schema_ext_source_version", "source_version"),
        ("RATTAIL_SCHEMA_EXT_APP", "app"),
        ("rattailschema_ext_policy", "policy"),
        ("rattail_shema_ext_policy_data", "policy_data"),
        ("schema_ext_integration_prefixes", "integration_prefixes"),
    ],
)
def test_a_name_that_nearly_begins_as_the_role_s_do_is_one_of_them(name: str, meant: str) -> None:
    assert variables.unknown([name]) == [f"There is no variable {name}. Did you mean {PREFIX}{meant}?"]


@pytest.mark.parametrize(
    "name", ["rattail_version", "rattail_app", "__rattail_schema_ext_said", "schema", "schema_version", "db_schema"]
)
def test_what_others_call_theirs_is_theirs(name: str) -> None:
    assert variables.unknown([name]) == []


def test_an_app_that_is_not_set_is_asked_for_beside_the_name_that_was_meant() -> None:
    assert wrong(app="", ap="poser") == (
        "There is no variable rattail_schema_ext_ap. Did you mean rattail_schema_ext_app?"
        " rattail_schema_ext_app is not set. Set it to the app's Python package, e.g. poser."
    )


def test_an_entry_point_asks_for_its_own() -> None:
    assert "rattail_schema_ext_revert_to is not set." in wrong("revert", revert_confirm="poser@a")
    assert wrong("revert", revert_to="a", revert_confirm="poser@a") == ""
    assert "rattail_schema_ext_baseline_revision is not set." in wrong("baseline", baseline_revision=[])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("source_version", 1.1, "is 1.1, which is no text. Write it in quotes."),
        ("expected_database", 5, "is 5, which is no text."),
        ("config_enabled", "maybe", "is 'maybe', which is not true or false."),
        ("lock_retries", "many", "is 'many', which is not a whole number from 0 on."),
        ("lock_wait_seconds", [1], "is [1], which is not a number"),
        ("lock_wait_seconds", -1, "which is not a number from 0 on. Correct it."),
        ("lock_timeout_seconds", "nan", "which is not a number"),
        ("statement_timeout_seconds", "inf", "which is not a number"),
        ("lock_retries", "-1", "which is not a whole number from 0 on."),
        ("backup_keep", True, "which is not a whole number"),
        ("lock_retries", "", "which is not a whole number from 0 on. Correct it, or leave it out."),
        ("config_enabled", "", "which is not true or false. Correct it, or leave it out."),
        ("config_enabled", None, "which is not true or false. Correct it, or leave it out."),
        ("prefixes", 1.1, "which is not a list."),
        ("integration_prefixes", "[1]", "is '[1]', which is not a dictionary."),
        ("integrations", '["rattail_corepos"', "which is not a list."),
        ("policy", "on", "is 'on', which is none of enforce, warn, off."),
        ("backup", "", "which is none of full, schema, none."),
    ],
)
def test_a_value_of_the_wrong_type_is_named_in_a_sentence(name: str, value: object, words: str) -> None:
    given: dict[str, Any] = {name: value}
    found = wrong(**given)
    assert found.startswith(f"rattail_schema_ext_{name} is {value!r}, ") and words in found


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("prefixes", ["poser", 1.1], "1.1"),
        ("integrations", [True], "True"),
        ("integrations", "[1.10]", "1.1"),
        ("integration_prefixes", {"rattail_corepos": [5]}, "5"),
        ("integration_prefixes", {5: ["five"]}, "5"),
    ],
)
def test_what_a_list_holds_is_text_too(name: str, value: object, shown: str) -> None:
    given: dict[str, Any] = {name: value}
    assert wrong(**given) == f"{PREFIX}{name} has {shown} in it, which is no text. Write it in quotes."


def test_of_a_revision_id_of_digits_nothing_else_is_made() -> None:
    """YAML reads 01234567 as 342391."""
    assert "which is not a list. Correct it." in wrong("baseline", baseline_revision=0o1234567)
    assert "has 342391 in it, which is no text. Write it in quotes." in wrong("baseline", baseline_revision=[0o1234567])
    assert wrong("baseline", baseline_revision="01234567") == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history_dir", "/srv/a\nb"),
        ("history_dir", "/srv/a{b}"),
        ("history_dir", '/srv/a" {'),
        ("history_dir", "/srv/it's"),
        ("history_dir", "/srv/a\\"),
        ("env_dir", "/srv\n"),
        ("config_file", "/srv/\x1b[2J"),
        ("user", "rattail\nroot"),
        ("app", "poser\r"),
    ],
)
def test_a_path_that_a_program_would_take_for_more_is_refused(name: str, value: str) -> None:
    found = wrong(**{name: value})
    assert f"rattail_schema_ext_{name} is {value!r}" in found
    assert not set(found) & {"\n", "\x1b", "\r"}


def test_a_path_may_have_blanks() -> None:
    assert read(history_dir="/srv/my *[history]")["history_dir"] == "/srv/my *[history]"


@pytest.mark.parametrize("name", ["rattail_schema_ext_user", "__rattail_schema_ext_python", "rattail_schema_ext_\x1b"])
def test_facts_decide_nothing(name: str) -> None:
    values = {f"{PREFIX}app": "poser", "ansible_facts": {"os_family": "Debian", name: "root"}}
    [found] = variables.judge("main", values, lambda value: value)[1]
    assert found.startswith("The facts of the host hold ") and "\x1b" not in found
    del values["ansible_facts"][name]  # type: ignore[attr-defined]
    assert variables.judge("main", values, lambda value: value)[1] == []


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [
        ("config_enabled", "no", False),
        ("lock_retries", "3", 3),
        ("lock_wait_seconds", "0.5", 0.5),
        ("integrations", '["rattail_corepos"]', ["rattail_corepos"]),
        ("integrations", "rattail_corepos,rattail_harvest", ["rattail_corepos", "rattail_harvest"]),
        ("integrations", "", []),
        ("integration_prefixes", '{"a": ["b"]}', {"a": ["b"]}),
        ("integration_prefixes", "", {}),
    ],
)
def test_text_that_means_another_type_is_read(name: str, value: object, means: object) -> None:
    assert read(**{name: value})[name] == means


@pytest.mark.parametrize(("value", "means"), [(True, "true"), (False, "false"), ("auto", "auto")])
def test_of_several_words_true_and_false_need_no_quotes(value: object, means: str) -> None:
    assert variables.read(f"{PREFIX}revision_review", value) == (means, "")


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
    found = wrong(source_repo=repo)
    assert "has credentials in it" in found
    assert "s3cret" not in found and "token@" not in found


@pytest.mark.parametrize(
    "repo",
    ["git@git.example.com:p.git", "ssh://git@git.example.com:2222/p.git", "https://git.example.com/p.git", "/srv/git"],
)
def test_a_login_name_is_no_secret(repo: str) -> None:
    assert wrong(source_repo=repo) == ""


@pytest.mark.parametrize("option", ["postgresql://rattail:s3cret@db1/poser", "host=db1 password=s3cret"])
def test_a_url_in_place_of_its_name_is_refused_without_showing_it(option: str) -> None:
    found = wrong(database_option=option)
    assert "database_option is a database URL" in found and "s3cret" not in found
    assert wrong(database_option="rattail.db:migration.url") == ""


@pytest.mark.parametrize(
    ("message", "words", "whole"),
    [
        ("add", "widget colour", "add widget colour"),
        ("add widget colour", "something else", "add widget colour"),
        ("add", None, "add"),
        ("", "", ""),
        ("2026", "prices", "2026 prices"),
    ],
)
def test_a_message_without_its_quotes_is_put_together_again(message: object, words: str | None, whole: str) -> None:
    assert variables.whole_message(message, words) == whole
