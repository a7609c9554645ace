"""The imports of a script: those that it needs, and no others."""

from __future__ import annotations

import pytest
from ansible.module_utils.rattail_alembic.authoring.autogenerate import tidy

MODULES = {"rattail", "rattail.db", "rattail.db.types", "poser", "poser.types", "sqlalchemy_utils"}


def script(imports: str, body: str) -> str:
    return f'"""a message"""\n{imports}\nrevision = "1"\n\n\ndef upgrade():\n    {body}\n'


CASES = {
    "what is used stays": ("from alembic import op\nimport sqlalchemy as sa\n", "op.f(sa.x)", None),
    "unused ones go": ("from alembic import op\nimport sqlalchemy as sa\n", "op.f()", "from alembic import op\n"),
    "by whole names": ("import rattail.db.types\nimport poser.types\n", "poser.types.X()", "import poser.types\n"),
    "what is missing comes": ("from alembic import op\n", "op.f(poser.types.X(), rattail.db.types.Y(n=1))",
                              "from alembic import op\nimport poser.types\nimport rattail.db.types\n"),
    "a part of it is not enough": ("import rattail\n", "rattail.db.types.X()", "import rattail\n"),
    "of several all stay": ("from typing import Sequence, Union\n", "Union()", None),
    "several lines go": ("from alembic import op\nfrom typing import (\n    Sequence,\n    Union,\n)\n", "op.f()",
                         "from alembic import op\n"),
    "annotations are uses": ("from typing import Union\n", "x: Union[str, None] = None", None),
    "builtins and own names need none": ("from alembic import op\n", "for poser in op.f(): poser.types.x()", None),
    "the future stays": ("from __future__ import annotations\nfrom alembic import op\n", "op.f()", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports(case: str) -> None:
    imports, body, wanted = CASES[case]
    text = tidy(script(imports, body), MODULES)
    assert text == script(imports if wanted is None else wanted, body)
    assert tidy(text, MODULES) == text


def test_a_template_of_the_app_s_keeps_what_it_imports() -> None:
    text = script("import os\nfrom alembic import op\n", "op.f(poser.types.X())")
    assert tidy(text, MODULES, trim=False) == text.replace("import op\n", "import op\nimport poser.types\n")


def test_what_is_not_python_is_not_guessed_at() -> None:
    with pytest.raises(SyntaxError):
        tidy("def (", MODULES)
