"""What is taken from what a host sent, and what of it reaches programs, paths and the screen."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest
from ansible.module_utils.rattail_alembic.cores import CORES
from ansible.module_utils.rattail_alembic.observe import answer as answers
from ansible.module_utils.rattail_alembic.observe.answer import Answer, Backup, Diff, Revision, Section
from ansible.module_utils.rattail_alembic.observe.request import Request
from ansible.module_utils.rattail_alembic.revisions import plan
from rattail_schema_ext_door import believed
from rattail_schema_ext_door.believed import Unfit, built

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# each changes what a terminal shows, or where a line ends
NASTY = ["\x1b[2J", "\x9b31m", "\x07", "\x08", "\r", "\x00", "\x7f", "\u202e", "\u2066", "\u2028", "\x85", "\ud800"]


def test_what_a_host_sends_is_taken_by_key_and_type() -> None:
    sent = {
        "state": "current",
        "heads": ["a", 1, None, {"b": "c"}],
        "retries": True,
        "fast_path": 1,
        "source": {"before": COMMIT, "restore": ["rm", "-rf"]},
        "config": "path",
        "lock": {"waited_seconds": 2, "holders": [{"pid": 3, "user": ["x"]}, "someone"]},
        "ansible_facts": {"rattail_schema_ext_user": "root"},
        "add_host": {"host_name": "localhost", "groups": ["all"], "host_vars": {"rattail_schema_ext_user": "root"}},
        "_ansible_no_log": True,
    }
    found, empty = built(Answer, sent).as_result(), Answer().as_result()
    assert found == {
        **empty,
        "state": "current",
        "heads": ["a"],
        "source": {**empty["source"], "before": COMMIT},
        "lock": {"waited_seconds": 2, "holders": [built(Answer, {"lock": {"holders": [{"pid": 3}]}})
                                                  .as_result()["lock"]["holders"][0]]},
    }  # fmt: skip


@pytest.mark.parametrize("sent", [None, [], "text", {"answer": {}}])
def test_what_is_no_answer_is_an_empty_one(sent: object) -> None:
    assert built(Answer, sent).as_result() == Answer().as_result()


def test_an_answer_comes_through_as_it_was() -> None:
    answer = Answer(
        state="behind",
        pending=[Revision(branch="poser", revision="b", message="add crates — für “uns”, 50 %", seconds=None)],
        summary=["poser on store: behind", "  pending: poser b add crates"],
        backup=Backup(file="/b", seconds=1.5, size=3),
        exception="Traceback:\n\tline 1\n",
    )
    assert built(Answer, answer.as_result()).as_result() == answer.as_result()
    assert built(Answer, {"exception": answer.exception}).exception == answer.exception


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(2**64), True, "5", [5]])
def test_a_number_is_one_that_can_be(value: object) -> None:
    found = built(
        Answer, {"retries": value, "database": {"port": value, "name": "x"}, "lock": {"waited_seconds": value}}
    )
    assert found.retries == 0 and found.database and found.database.port == 0
    assert found.lock and found.lock.waited_seconds == 0.0


def every_text(kind: Any) -> Any:
    """A value of a key's type in which each text is nasty."""
    if is_dataclass(kind):
        types = get_type_hints(kind)
        return {each.name: every_text(types[each.name]) for each in fields(kind)
                if each.metadata["form"] in ("line", "text", "name")}  # fmt: skip
    inner = getattr(kind, "__args__", ())
    if inner and getattr(kind, "__origin__", None) is list:
        return [every_text(inner[0])]
    if inner:
        return every_text(inner[0])
    return f"a{''.join(NASTY)}\nTASK [all is well]\r\nok: [store]" if kind is str else None


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def test_no_text_of_any_key_has_what_a_terminal_obeys() -> None:
    found = texts(built(Answer, every_text(Answer)).as_result())
    assert sum("TASK" in text for text in found) > 80
    assert [text for text in found if any(nasty in text for nasty in NASTY)] == []


def test_only_what_is_meant_to_has_lines() -> None:
    """Statements, errors of a database, tracebacks and diffs; no message, warning or summary."""
    found = built(Answer, every_text(Answer))
    assert "\n" not in "".join([found.msg, *found.summary, *found.warnings, found.install_reason, *found.drift])
    assert "\n" not in "".join(texts(built(Answer, every_text(Answer)).as_result()["problems"]))
    assert found.failed_revision and "\n" in found.failed_revision.statement
    assert "\n" in built(Diff, {"after": "+ a\n+ b\n"}).after


@pytest.mark.parametrize("name", ["a b", "a;rm -rf /", "$(x)", "`x`", "../../x", "-rf", "a\nb", "ä'b", "x" * 300])
def test_a_revision_is_a_word(name: str) -> None:
    found = built(Answer, {"heads": [name], "pending": [{"revision": name}]})
    for each in (*found.heads, found.pending[0].revision):
        assert len(each) <= 250 and not set(each) & set(" ;/$()`'\n") and not each.startswith("-")


@pytest.mark.parametrize("name", ["a010a6c92761", "0001_initial", "Ünïcode", "2024.01", "a-b"])
def test_a_revision_keeps_its_name(name: str) -> None:
    assert built(Answer, {"heads": [name]}).heads == [name]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"state": "fine"}, "'fine' for state"),
        ({"todo": ["upgrade", "evil"]}, "'evil' for todo"),
        ({"problems": [{"code": "x\ny"}]}, "'x y' for code"),
        ({"problems": [{"code": "../x"}]}, "for code"),
        ({"source": {"before": "HEAD"}}, "'HEAD' for before"),
        ({"source": {"before": "--orphan"}}, "for before"),
        ({"source": {"before": COMMIT[:39]}}, "for before"),
        ({"source": {"before": COMMIT + "\n"}}, "for before"),
        ({"source": {"wanted": "x; rm -rf /"}}, "for wanted"),
        ({"source": {"branch": "-B"}}, "'-B' for branch"),
        ({"source": {"branch": "--upload-pack=/evil"}}, "for branch"),
        ({"source": {"branch": "a b"}}, "for branch"),
        ({"source": {"branch": "a..b"}}, "for branch"),
        ({"source": {"branch": "a\n"}}, "for branch"),
        ({"source": {"branch": "a.lock"}}, "for branch"),
        ({"source": {"branch": "@{-1}"}}, "for branch"),
        ({"source": {"version": "-f"}}, "for version"),
        ({"source": {"moved_tags": ["v1", "-d"]}}, "'-d' for moved_tags"),
        ({"config": {"section": {"script_location": "x\n  [Service]\n  ExecStartPre=/evil"}}}, "for script_location"),
        ({"config": {"section": {"script_location": "[Service]"}}}, "for script_location"),
        ({"config": {"section": {"version_locations": ["a", "b\nc"]}}}, "for version_locations"),
        ({"config": {"section": {"version_locations": ["a\x1b[2J"]}}}, "for version_locations"),
        ({"config": {"section": {"version_locations": ["# x"]}}}, "for version_locations"),
        ({"config": {"section": {"separator": "os"}}}, "for separator"),
        ({"config": {"section": {"separator_name": "[Service]"}}}, "for separator_name"),
        ({"config": {"section": {"other_separator_name": "url"}}}, "for other_separator_name"),
        ({"summary": ["x" * 1000] * 30_000}, "longer than"),
        ({"summary": [{}] * 30_000_000}, "longer than"),
        ({"msg": "x" * 50_000_000}, "longer than"),
    ],
)  # fmt: skip
def test_what_a_program_goes_by_has_its_form_or_there_is_no_answer(sent: dict[str, Any], words: str) -> None:
    with pytest.raises(Unfit) as raised:
        built(Answer, sent)
    assert words in str(raised.value) and len(str(raised.value)) < 200
    assert not any(nasty in str(raised.value) for nasty in [*NASTY, "\n"])


@pytest.mark.parametrize("branch", ["main", "feature/ümlaut", "release-1.2", "it's", "user@host", "#12", "v1.0"])
def test_a_branch_keeps_its_name(branch: str) -> None:
    assert built(Answer, {"source": {"branch": branch, "version": branch}}).source.branch == branch


@pytest.mark.parametrize(
    "location", ["poser.db:alembic/versions", "%(here)s/my versions", "/srv/ä", "versions", "a%%b"]
)
def test_a_location_keeps_its_name(location: str) -> None:
    section = built(Section, {"script_location": location, "version_locations": [location]})
    assert (section.script_location, section.version_locations) == (location, [location])


def test_a_long_text_is_cut() -> None:
    found = built(Answer, {"msg": "x" * 30_000, "exception": "y\n" * 1_000_000})
    assert len(found.msg) == 20_001 and len(found.exception) == 1_000_001
    again = built(Answer, {"msg": found.msg})
    assert again.msg == found.msg


def test_many_blanks_take_no_time() -> None:
    assert len(built(Answer, {"summary": [" " * 19_000 + "x"] * 500}).summary) == 500


def test_every_form_is_known() -> None:
    classes = [each for each in vars(answers).values() if is_dataclass(each)]
    forms = {each.metadata["form"] for shape in classes for each in fields(shape)}
    assert {form for form in forms if isinstance(form, str)} == {"line", "text", "name", *believed._FORMS}


def test_the_words_are_those_that_modules_use() -> None:
    states = {value for name, value in vars(plan).items() if name.isupper() and isinstance(value, str)}
    assert states == set(answers.STATES)


def request(**given: Any) -> Request:
    return Request.from_parameters(
        {"app": "poser", "env_dir": "/e", "config_file": "app/rattail.conf", "source_dir": "/s", **given}
    )


RIGHT = {
    "script_location": "rattail.db:alembic",
    "version_locations": ["poser.db:alembic/versions", "rattail.db:alembic/versions"],
    "separator_name": "path_separator",
    "separator": "space",
}


def answer(**changed: Any) -> Answer:
    return built(Answer, {"todo": ["config"], "config": {"section": {**RIGHT, **changed}}})


def test_a_section_that_the_operator_asked_for_passes() -> None:
    believed.refuse_section(answer(), request())
    believed.refuse_section(answer(version_locations=["/more", *RIGHT["version_locations"]]), request())
    believed.refuse_section(answer(script_location="p:a%%b"), request(script_location="p:a%b"))
    believed.refuse_section(built(Answer, {"todo": ["upgrade"]}), request())


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({"version_locations": ["/evil"]}, {}),
        ({"version_locations": []}, {}),
        ({"version_locations": RIGHT["version_locations"][:1]}, {}),
        ({}, {"integrations": ["rattail_corepos"]}),
        ({}, {"core": "wutta"}),
        ({}, {"script_location": "poser.db:alembic"}),
        ({"script_location": ""}, {}),
        ({"separator": ""}, {}),
        ({"separator_name": ""}, {}),
    ],
)
def test_a_section_that_the_operator_did_not_ask_for_is_none(changed: dict[str, Any], asked: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        believed.refuse_section(answer(**changed), request(**asked))


def test_there_is_no_section_to_write_without_one() -> None:
    with pytest.raises(Unfit):
        believed.refuse_section(built(Answer, {"todo": ["config"]}), request())
    assert CORES["rattail"].version_location in RIGHT["version_locations"]


def test_what_ansible_reads_itself_is_clean_and_still_the_same_json() -> None:
    said = json.dumps({"msg": "\x1b[2J\nä\u2028"})
    assert believed.printable(said) == said
    assert believed.printable("\x1b]0;title\x07 ok\r\n") == "\ufffd]0;title\ufffd ok\n"
