"""No password leaves in a message."""

from __future__ import annotations

import json
import pprint
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from ansible.module_utils.rattail_alembic import problem
from ansible.module_utils.rattail_alembic.observe.answer import Answer, Diff, Rehearsal, Rehearsed
from ansible.module_utils.rattail_alembic.postgres.url import learn_passwords, parse_url
from ansible.module_utils.rattail_alembic.problem import Refused, learn, mask, masked
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://rattail:s3cret@localhost/poser", "postgresql://rattail:***@localhost/poser"),
        ("postgresql+psycopg2://r:s3@cret@db:5432/poser no", "postgresql+psycopg2://r:***@db:5432/poser no"),
        ("postgresql://u:pa/ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:/pass/@h, then", "postgresql://u:***@h, then"),
        ("postgresql://u:12/34@h", "postgresql://u:***@h"),
        ("postgresql://u:p?a#ss@h/db?sslmode=require", "postgresql://u:***@h/db?sslmode=require"),
        ("postgresql://me@corp:s3cret@h/db", "postgresql://me@corp:***@h/db"),
        ("1postgresql://u:s3cret@h/db", "1postgresql://u:***@h/db"),
        ("https://oauth2:s3cret@git.example.com/poser.git", "https://oauth2:***@git.example.com/poser.git"),
        ("host=db password=s3cret user=rattail", "host=db password=*** user=rattail"),
        ("postgresql:///poser?user=rattail&password=s3cret", "postgresql:///poser?user=rattail&password=***"),
        ("password='s3 cret' host=db", "password=*** host=db"),
        (r"password='s3\' cret' host=db", "password=*** host=db"),
        ("{'user': 'u', 'password': 's3 cret', 'host': 'h'}", "{'user': 'u', 'password': ***, 'host': 'h'}"),
        ('{"password": "s3 \\"cret", "host": "h"}', '{"password": ***, "host": "h"}'),
        ("connect(host='h', password='s3 cret')", "connect(host='h', password=***)"),
        ("the password: s3cret", "the password: ***"),
        ("PGPASSWORD=s3cret psql", "PGPASSWORD=*** psql"),
        ("db_passwd = s3cret", "db_passwd = ***"),
        ("alter role u Password 's3 ''cret' valid until 'x'", "alter role u Password *** valid until 'x'"),
        (r"CREATE ROLE u ENCRYPTED PASSWORD E'it\'s' LOGIN", "CREATE ROLE u ENCRYPTED PASSWORD *** LOGIN"),
        ("create user u password $x$s3 cret$x$;", "create user u password ***;"),
        # what only looks alike
        ("git@git.example.com:poser.git", "git@git.example.com:poser.git"),
        ("postgresql://localhost:5432/poser", "postgresql://localhost:5432/poser"),
        ("postgresql:///poser?host=/run:5432", "postgresql:///poser?host=/run:5432"),
        ('password authentication failed for user "u"', 'password authentication failed for user "u"'),
        ("fe_sendauth: no password supplied", "fe_sendauth: no password supplied"),
        ("alter x type text using password::text", "alter x type text using password::text"),
        ("ALTER ROLE u PASSWORD NULL", "ALTER ROLE u PASSWORD NULL"),
        ("as postgresql://user:password@host:port/x", "as postgresql://user:password@host:port/x"),
    ],
)  # fmt: skip
def test_what_stands_as_a_password_is_masked(text: str, masked: str) -> None:
    assert mask(text) == mask(mask(text)) == masked


PASSWORDS = st.text("aZ9 '\"\\/%@:+&$?=#{}é漢😀\t", min_size=8, max_size=16)
PASSWORDS = PASSWORDS.map(str.strip).filter(lambda text: len(text) >= 6 and len(set(text)) > 3)

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: f"it is {secret} here",
    "in a URL": lambda secret: f"postgresql://rattail:{quote(secret, safe='')}@db1:5432/poser",
    "in a URL, in small letters": lambda secret: f"mysql://rattail:{quote(secret, safe='').lower()}@db1",
    "in a form": lambda secret: f"user=rattail&pw={quote_plus(secret)}",
    "in a URL in a config file": lambda secret: f"url = x://rattail:{quote(secret, safe='').replace('%', '%%')}@db1",
    "in a dict": lambda secret: f"connect failed: {({'user': 'rattail', 'pw': secret})!r}",
    "in a tuple's text in a dict": lambda secret: repr({"args": repr(("db1", secret))}),
    "in ASCII": lambda secret: ascii([secret]),
    "in bytes": lambda secret: repr(secret.encode()),
    "in JSON": lambda secret: json.dumps([secret]),
    "in JSON in JSON": lambda secret: json.dumps(json.dumps([secret])),
    "in SQL": lambda secret: "alter role rattail with pw '" + secret.replace("'", "''") + "'",
    "in SQL with backslashes": lambda secret: "E'" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'",
    "in a connection string in a dict": lambda secret: repr(
        {"dsn": "pw='" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'"}
    ),
    "in a password file": lambda secret: "db1:*:*:rattail:" + secret.replace("\\", "\\\\").replace(":", "\\:"),
    "with its white space closed up": lambda secret: " ".join(f"said {secret} so".split()),
    "printed in a pretty way": lambda secret: pprint.pformat({"pw": secret}, width=300),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PASSWORDS)
@example("pa/ss'wo\"rd%41\\")
@example("it's \"odd\"  \\' %2F")
@example("пароль漢字😀word")
@example("Xk7wordOfThePass")
@example("correcthorse")
@example("9999: \t9")
@example("00314159")
@example("''''''''\"\"\\\\\\\\\\x")
def test_a_password_that_is_known_is_masked_in_every_spelling(spelling: str, secret: str) -> None:
    problem._passwords.clear()
    learn(secret, "rattail", "db1", "poser")
    said = mask(SPELLINGS[spelling](secret))
    shown = SPELLINGS[spelling]("XXX").replace("XXX", "***").replace("xxx", "***")

    # Punctuation beside it may be a part of it.
    def bare(text: str) -> str:
        return "".join(each for each in text if each.isalnum() or each == "*")

    assert bare(said) == bare(shown), said


ORDINARY = ("rattail", "s3cr", "Poser", "db1", "password", "1234", "store_7")


@pytest.mark.parametrize("password", ORDINARY)
def test_a_password_that_is_a_name_or_short_is_masked_in_its_place_only(password: str) -> None:
    learn_passwords(f"postgresql://rattail:{password}@db1/poser")
    learn("", "store_7")
    text = f"revision {password}0123 of {password} in /srv/envs/{password}/app, {password}."
    assert mask(text) == text
    for place in (
        "x://rattail:{}@db1/poser", "password={}", "{{'password': '{}'}}", "password: {}", "ALTER ROLE u PASSWORD '{}'"
    ):  # fmt: skip
        said = mask(place.format(password)).replace("password", "").replace("PASSWORD", "").replace("rattail:", "")
        assert password not in said.replace("@db1/poser", ""), said


@pytest.mark.parametrize("password", ["inventory", "314159"])
def test_a_password_of_letters_or_digits_alone_is_a_word(password: str) -> None:
    learn(password)
    kept = f"{password}s poser_{password} x{password} {password}1 {password}_x"
    assert mask(kept) == kept
    assert (
        mask(rf"{password}, '{password}' \n{password} %27{password}%27 a.{password}")
        == r"***, '***' \n*** %27***%27 a.***"
    )


def test_white_space_alone_is_no_password() -> None:
    learn("        ")
    assert mask("it is        so") == "it is        so"


def test_one_within_another_and_what_is_learnt_later() -> None:
    learn("Tr0ub4dor")
    learn("Tr0ub4dor&3")
    assert mask("Tr0ub4dor&3 Tr0ub4dor Tr0ub4dorx") == "*** *** ***x"
    learn("", "Tr0ub4dor")
    assert mask("Tr0ub4dor&3 Tr0ub4dor") == "*** Tr0ub4dor"


LEARNT = {
    "postgresql://rattail:Xk7%2Fword@db1/poser": "Xk7/word",
    "postgresql://rattail:Xk7/word@db1/poser": "Xk7/word",
    "postgresql://rattail:Xk7 word@db1/poser": "Xk7 word",
    "postgresql://rattail:Xk7@@word@db1/poser": "Xk7@@word",
    "postgresql:///poser?user=rattail&password=Xk7%2Fword": "Xk7/word",
    "postgresql://rattail@db1/poser?sslpassword=Xk7word": "Xk7word",
    "mysql://corepos:Xk7word@lane1/core_op": "Xk7word",
}


@pytest.mark.parametrize("url", LEARNT)
def test_a_url_teaches_its_password(url: str) -> None:
    learn_passwords(url)
    assert mask(f"it said {LEARNT[url]} there") == "it said *** there"


@pytest.mark.parametrize(
    "url", ["postgresql://u:pa@ss/word@h/db", "postgresql://u:pa@ss@h/db", "postgresql://u:@ss@h/db"]
)
def test_a_url_whose_password_has_an_at_is_refused_and_none_of_it_is_shown(url: str) -> None:
    with pytest.raises(Refused, match="must be written %40") as refusal:
        parse_url(url)
    assert "ss" not in str(refusal.value).replace("password", "").replace("passed", "")


def test_what_cannot_match_is_soon_known() -> None:
    learn("'''''''''\\\\\\\\\\  \t '''''\"\"\"\"")
    began = time.monotonic()
    for text in (
        "'" * 5_000,
        "\\" * 500,
        " " * 2_000,
        "%27" * 2_000,
        "x://" + "a:" * 5_000,
        "password='" + "\\'" * 5_000,
    ):
        mask(text)
    assert time.monotonic() - began < 5


def test_an_answer_leaves_without_passwords_but_with_what_tasks_act_on() -> None:
    learn("upgrade-1")
    learn("versions")
    answer = Answer(state="versions", todo=["versions"], msg="upgrade-1", exception="upgrade-1")
    answer.versions = "/srv/poser/db/alembic/versions"
    answer.rehearsal = Rehearsal(revisions=[Rehearsed("abc", 1.0, ["select 'upgrade-1'"])])
    answer.diff = Diff("a", "b", "upgrade-1", "the versions")
    result = answer.for_ansible()
    assert "upgrade-1" not in json.dumps(result)
    assert result["answer"]["rehearsal"]["revisions"][0]["sql"] == ["select '***'"]
    assert result["diff"]["after"] == "the ***"
    assert (result["answer"]["todo"], result["answer"]["versions"]) == (["versions"], "/srv/poser/db/alembic/versions")
    # and nothing of it has changed
    assert answer.msg == "upgrade-1"


def test_only_texts_are_masked() -> None:
    learn("secret-1")
    assert masked({"a": ["secret-1", 1, None, {"b": "no"}], "c": 1.5}) == {"a": ["***", 1, None, {"b": "no"}], "c": 1.5}


def test_a_problem_is_a_cause_and_a_remedy() -> None:
    refused = Refused("code", "It is broken.", "Mend it.")
    assert str(refused) == "It is broken. Mend it."
    assert refused.problem.as_dict() == {"code": "code", "cause": "It is broken.", "remedy": "Mend it."}


def test_a_long_text_takes_no_time() -> None:
    for text in ("x" * 1_000_000, "x://" * 250_000, "x://u:" + "@" * 100_000, "password='" * 50_000):
        began = time.monotonic()
        mask(text)
        assert time.monotonic() - began < 5
