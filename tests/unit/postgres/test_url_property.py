"""For any PostgreSQL URL: the arguments SQLAlchemy gives psycopg2, or a refusal."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from ansible.module_utils.rattail_alembic.postgres.url import parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
from hypothesis import event, given, settings
from hypothesis import strategies as st
from settings_oracle import real_arguments, without_empty_ports
from sqlalchemy.engine import make_url

pytestmark = pytest.mark.property

TEXT = st.text(alphabet="ab0%2f :@/?#[]+&=é,\\", max_size=6)
HOSTS = st.sampled_from(["h", "10.0.0.1", "[::1]", "a-b.example.com", "", "h_1"])
PORTS = st.sampled_from(["", ":5432", ":0", ":", ":x", ":-1", ": 7"])
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["host", "port", "user", "password", "dbname", "database", "sslmode", "options", "a%62"]),
        st.sampled_from(
            ["h", "/run/pg", "a:1", "b:2", "::1", "a,b", "5", "5,6", "0", "-c x%3Dy", "é", "", "a+b", "@x"]
        ),
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))


@st.composite
def urls(draw: st.DrawFn) -> str:
    """A PostgreSQL URL, or nearly one."""
    url = draw(st.sampled_from(["postgresql://", "postgresql+psycopg2://"]))
    if draw(st.booleans()):
        url += draw(TEXT) + draw(st.one_of(st.just(""), TEXT.map(":{}".format))) + "@"
    url += draw(HOSTS) + draw(PORTS)
    if draw(st.booleans()):
        url += "/" + draw(TEXT)
    if draw(st.booleans()):
        url += "?" + draw(QUERIES)
    return url


@settings(max_examples=800, deadline=None)
@given(urls())
def test_arguments_are_sqlalchemys(url: str) -> None:
    try:
        theirs = real_arguments(make_url(url))
    except Exception as error:
        event(f"SQLAlchemy refuses: {type(error).__name__}")
        with pytest.raises(Refused):
            parse_url(url)
        return
    try:
        ours = parse_url(url)
    except Refused as refused:
        event(refused.problem.cause.split(": ", 1)[-1][:40])
        return
    event("answered")
    assert without_empty_ports(ours.connect_kwargs()) == without_empty_ports(theirs)


@settings(max_examples=300, deadline=None)
@given(
    user=st.text(alphabet="abé@:/%", min_size=1, max_size=5),
    password=st.text(alphabet="abé@:/%?#", min_size=1, max_size=5),
    port=st.sampled_from([None, 5432]),
    query=st.sampled_from([{}, {"sslmode": "require"}, {"host": "/run/pg"}, {"host": ["a:1", "b"]}]),
)
def test_plain_urls_are_answered(user: str, password: str, port: int | None, query: dict[str, Any]) -> None:
    several = isinstance(query.get("host"), list)
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@"
    url += "" if "host" in query else "h"
    url += "" if port is None or several else f":{port}"
    url += "/poser" + ("?" + urlencode(query, doseq=True) if query else "")
    target = parse_url(url)
    assert (target.user, target.password, target.dbname) == (user, password, "poser")
    assert target.connect_kwargs() == real_arguments(make_url(url))
