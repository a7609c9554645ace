#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the table of variables into the READMEs, from the role's argument specs.

With --check it writes nothing, and fails where a README is not in step.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "rattail_schema_ext"
BEGIN, END = "<!-- variables -->", "<!-- /variables -->"


def table() -> str:
    """The variables of the entry point ``main`` as a Markdown table, and those that single other ones have besides."""
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    common = specs["main"]["options"]
    parts = _table(common)
    for entry_point, spec in specs.items():
        own = {name: option for name, option in spec["options"].items() if name not in common}
        if own:
            parts += ["", f"Of the entry point `{entry_point}`:", "", *_table(own)]
    return "\n".join(parts)


def _table(options: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        f"| `{name}` | {option['type']} | {_default(option)} | {_markdown(option['description'])} |"
        for name, option in options.items()
    ]
    return ["| name | type | default | meaning |", "|---|---|---|---|", *rows]


def _default(spec: dict[str, Any]) -> str:
    if spec.get("required"):
        return "required"
    value = spec["default"]
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if text else "empty"


def _markdown(description: str) -> str:
    """Ansible's markup (C(), V(), O()) as Markdown."""
    return re.sub(r"\b[CVO]\(([^)]*)\)", r"`\1`", description.strip())


def main() -> int:
    """Bring both READMEs in step, or say which is not."""
    check = "--check" in sys.argv[1:]
    stale = []
    for readme in (ROOT / "README.md", ROLE / "README.md"):
        text = readme.read_text(encoding="utf-8")
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        fresh = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
        if fresh != text:
            stale.append(str(readme.relative_to(ROOT)))
            if not check:
                readme.write_text(fresh, encoding="utf-8")
    if stale and check:
        print(f"Not in step with meta/argument_specs.yml: {', '.join(stale)}. Run scripts/document_variables.py.")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
