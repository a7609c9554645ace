"""Sentences about what failed, out of what others said."""

from __future__ import annotations

from ansible.module_utils.rattail_alembic.observe.answer import Answer, Source
from rattail_schema_ext_door import words

HERE = Answer(source=Source(directory="/srv/poser", after="1", wanted="2"), current_after=["a", "b"])
AT = "Now the checkout is at 1 and the database at a, b."


def test_last_words_are_short_and_without_passwords() -> None:
    output = "\n".join(["noise"] * 20 + ["Looking in indexes: https://me:s3cret@pip.example.com/simple", "ERROR: no"])
    found = words.last(output)
    assert found.endswith("ERROR: no.") and "s3cret" not in found
    assert found.count("noise") == 3


def test_what_others_said_is_one_line_without_what_a_terminal_obeys() -> None:
    found = words.of_module({"module_stderr": "a\x1b[2J\x9b\nb\u2028c\r"})
    assert not set(found) & set("\x1b\x9b\n\u2028\r") and "b c" in found
    assert len(words.last("x" * 1_000_000)) < 25_000


def test_of_a_run_that_failed_the_role_s_own_sentence_comes_first() -> None:
    found = words.failure({"msg": "The upgrade failed."}, {"msg": "Revision b failed: no. Mend it."}, HERE, {})
    assert found == f"Revision b failed: no. Mend it. {AT}"


def test_git_and_pip_are_quoted() -> None:
    checkout = {"msg": "Failed to checkout", "stderr": "noise\nfatal: no space left on device\n"}
    found = words.failure({"msg": "git failed."}, {}, HERE, {"__rattail_schema_ext_checkout": checkout})
    assert found == (
        "/srv/poser could not be brought to 2: no space left on device. Mend what git says, then run again. " + AT
    )
    install = {"rc": 1, "stderr": "ERROR: no such index"}
    said = {"__rattail_schema_ext_install": install, "__rattail_schema_ext_checkout": {"after": "2"}}
    again = {"__rattail_schema_ext_failed_install": install, "__rattail_schema_ext_install": {"rc": 0}}
    for seen in (said, {**said, **again}):
        found = words.failure({"msg": "pip failed."}, {}, HERE, seen)
        assert "could not be installed: ERROR: no such index. Mend what pip says" in found
    # it has nothing to do with a task that fails later
    assert words.failure({"msg": "could not stop it"}, {}, HERE, said) == f"could not stop it. {AT}"


def test_a_task_of_the_user_s_is_quoted() -> None:
    assert words.failure({"msg": "could not stop it"}, {}, HERE, {}) == f"could not stop it. {AT}"
    assert (
        words.failure({}, {}, Answer(), {})
        == "A task failed. Now the checkout is at no commit and the database at no revision."
    )
