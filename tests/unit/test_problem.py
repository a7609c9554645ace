"""No password leaves in a message."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.problem import Refused, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://rattail:s3cret@localhost/poser", "postgresql://rattail:***@localhost/poser"),
        ("postgresql+psycopg2://r:s3@cret@db:5432/poser no", "postgresql+psycopg2://r:***@db:5432/poser no"),
        ("https://oauth2:s3cret@git.example.com/poser.git", "https://oauth2:***@git.example.com/poser.git"),
        ("host=db password=s3cret user=rattail", "host=db password=*** user=rattail"),
        ("postgresql:///poser?user=rattail&password=s3cret", "postgresql:///poser?user=rattail&password=***"),
        ("password='s3 cret' host=db", "password=*** host=db"),
        ("git@git.example.com:poser.git", "git@git.example.com:poser.git"),
        ("postgresql://localhost:5432/poser", "postgresql://localhost:5432/poser"),
    ],
)
def test_mask(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_problem_is_a_cause_and_a_remedy() -> None:
    refused = Refused("code", "It is broken.", "Mend it.")
    assert str(refused) == "It is broken. Mend it."
    assert refused.problem.as_dict() == {"code": "code", "cause": "It is broken.", "remedy": "Mend it."}
