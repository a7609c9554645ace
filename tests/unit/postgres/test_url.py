"""Database URLs: what they lead to, held against SQLAlchemy's own psycopg2 dialect."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.postgres.url import Target, parse_url
from ansible.module_utils.rattail_alembic.problem import Refused
from settings_oracle import real_arguments, without_empty_ports
from sqlalchemy.engine import make_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("postgresql://", Target()),
        ("postgresql:///poser", Target(dbname="poser")),
        ("postgresql://localhost/poser", Target("localhost", None, "poser")),
        ("postgresql+psycopg2://u:p@h:5433/d", Target("h", 5433, "d", "u", "p", driver="psycopg2")),
        ("postgresql://u:p%40%2Fs%25%3A@h/d", Target("h", None, "d", "u", "p@/s%:")),
        ("postgresql://u:p/w:x@h/d", Target("h", None, "d", "u", "p/w:x")),
        ("postgresql://u+v:a+b@h/d", Target("h", None, "d", "u+v", "a+b")),
        ("postgresql://u@[::1]:5433/d", Target("::1", 5433, "d", "u")),
        ("postgresql://h:0/d", Target("h", None, "d")),
        ("postgresql://u:@h/d e%", Target("h", None, "d e%", "u")),
        ("postgresql://postgres:@/d?host=/run/pg:1", Target("/run/pg:1", None, "d", "postgres")),
        ("postgresql://u@h/d?sslmode=require&application_name=a+b%26", Target("h", None, "d", "u", "", {
            "sslmode": "require", "application_name": "a b&"})),
        ("postgresql://h/d?user=u&password=p&port=5&host=g", Target("g", 5, "d", "u", "p")),
        ("postgresql://?dbname=d", Target(dbname="d")),
        ("postgresql://?database=d", Target(dbname="d")),
        ("postgresql:///d?host=a&host=b:5", Target("a,b", None, "d", options={"port": ",5"})),
        ("postgresql:///d?host=a,b&port=4,5", Target("a,b", None, "d", options={"port": "4,5"})),
        ("postgresql:///d?host=a,b", Target("a,b", None, "d")),
        ("postgresql://h/d?sslmode=", Target("h", None, "d")),
    ],
)  # fmt: skip
def test_leads_where_sqlalchemy_goes(url: str, target: Target) -> None:
    assert parse_url(url) == target
    assert without_empty_ports(target.connect_kwargs()) == without_empty_ports(real_arguments(make_url(url)))


def test_psycopg_is_libpq_too() -> None:
    assert parse_url("postgresql+psycopg://u@h/d") == Target("h", None, "d", "u", driver="psycopg")


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("postgres://u:secret@h/d", "database_unsupported", "Write postgresql:// instead"),
        ("postgresql+asyncpg://u:secret@h/d", "database_unsupported", "install the driver"),
        ("postgresql+pg8000://u:secret@h/d", "database_unsupported", "install the driver"),
        ("sqlite:///secret", "database_unsupported", "sqlite://"),
        ("mysql+pymysql://u:secret@h/d", "database_unsupported", "PostgreSQL database"),
        ("secret", "database_url_invalid", "does not begin"),
        ("", "database_url_invalid", "does not begin"),
        ("postgresql://secret:x/d", "database_url_invalid", "port is not a number"),
        ("postgresql://secret:/d", "database_url_invalid", "port is not a number"),
        ("postgresql://u:p@secret@h/d", "database_url_invalid", "must be written %40"),
        ("postgresql://h/secret%20", "database_url_invalid", "not every SQLAlchemy decodes"),
        ("postgresql://h/secret?dbname=e", "database_url_invalid", "(dbname in its query)"),
        ("postgresql://h?dbname=e&database=secret", "database_url_invalid", "more than one place"),
        ("postgresql:///d?host=a:1:2&host=b", "database_url_invalid", "not a number"),
        ("postgresql://:4/d?host=a&host=b", "database_url_invalid", "beside several hosts"),
        ("postgresql://:4/d?host=a,b", "database_url_invalid", "beside several hosts"),
        ("postgresql:///d?host=a&host=b&port=4", "database_url_invalid", "beside several hosts"),
        ("postgresql:///d?host=a:x&host=b", "database_url_invalid", "not a number"),
        ("postgresql:///d?host=a:4", "database_url_invalid", "takes for the host's name"),
        ("postgresql:///d?host=a,b&port=4", "database_url_invalid", "as many ports"),
        ("postgresql:///d?port=4,5", "database_url_invalid", "as many ports"),
        ("postgresql:///d?port=x", "database_url_invalid", "not a number"),
        ("postgresql:///d?sslmode=a&sslmode=secret", "database_url_invalid", "sslmode more than once"),
        ("postgresql+psycopg_async://u:secret@h/d", "database_unsupported", "postgresql:// instead"),
        ("postgresql+psycopg2cffi://u:secret@h/d", "database_unsupported", "install the driver"),
        ("postgresql+psycopg://h/secret?prepare_threshold=0", "database_url_invalid", "no parameter of libpq"),
        ("postgresql:///d?dsn=secret", "database_url_invalid", "no parameter of libpq"),
    ],
)
def test_refuses(url: str, code: str, says: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_url(url)
    assert caught.value.problem.code == code
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    target = parse_url("postgresql://u:hidden@h:5/d?sslpassword=hidden")
    assert "hidden" not in repr(target)
    assert str(target) == "'d' on h:5"
    assert str(parse_url("postgresql:///d")) == "'d' on the local socket"
