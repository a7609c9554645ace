#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write what is described in one place to where people and programs look for it.

Variables are described in the role's meta/argument_specs.yml, results in observe/answer.py. From there are written:
defaults/main.yml, the options and results of the modules, and the tables of the READMEs. The releases that the role
works with are in supported.toml, and from there in README, in meta/main.yml and in host/distributions.py.
With --check nothing is written, and it fails where one of them is not in step.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import tomllib
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "rattail_schema_ext"
sys.path.insert(0, str(ROLE / "module_utils"))

from rattail_alembic.observe.answer import OF_ANSIBLE, Answer  # noqa: E402
from rattail_alembic.observe.request import argument_spec  # noqa: E402

PREFIX = "rattail_schema_ext_"
SPECS = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
COMMON: dict[str, dict[str, Any]] = SPECS["tasks/main"]["options"]
EVERY: dict[str, dict[str, Any]] = {name: option for spec in SPECS.values() for name, option in spec["options"].items()}
SUPPORTED: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "supported.toml").read_text(encoding="utf-8"))
_WIDTH = 118


# Variables


def defaults() -> str:
    """``defaults/main.yml``: each variable that has a default, with the first sentence of its description."""
    lines = [
        "---",
        "# Written by scripts/document.py from meta/argument_specs.yml, where each variable is described.",
    ]
    for name, option in EVERY.items():
        if option.get("required") and name != f"{PREFIX}app":
            continue
        first = re.split(r"(?<=\.)\s", _plain(option["description"]))[0]
        lines += ["", *textwrap.wrap(first, _WIDTH, initial_indent="# ", subsequent_indent="# ")]
        # Every play sets the app; it is here so that a play that does not is told so.
        lines.append(f"{name}: {_yaml(option.get('default', ''))}")
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, default_style='"' if value == "" else None)
    text = text.replace("\n...", "").strip()
    return (
        json.dumps(value) if isinstance(value, str) and "{{" in value else text.replace("['", '["').replace("']", '"]')
    )


def variables() -> str:
    """The variables of the entry point ``main`` as a Markdown table, and those that single other ones have besides."""
    parts = _table(COMMON)
    for entry_point, spec in SPECS.items():
        own = {name: option for name, option in spec["options"].items() if name not in COMMON}
        if own:
            parts += ["", f"Of the entry point `{entry_point.partition('/')[2]}`:", "", *_table(own)]
    return "\n".join(parts)


def _table(options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [
        f"| `{name}` | {option['type']} | {_default(option)} | {_markdown(option['description'])} |"
        for name, option in options.items()
    ]
    return ["| name | type | default | meaning |", "|---|---|---|---|", *rows]


def _default(spec: Mapping[str, Any]) -> str:
    if spec.get("required"):
        return "required"
    value = spec["default"]
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if text else "empty"


def options() -> str:
    """The options of the modules: those variables that a Request has."""
    found: list[str] = []
    for name, spec in argument_spec().items():
        described = _references(EVERY[PREFIX + name]["description"])
        about = {
            key: value for key, value in spec.items() if key in ("type", "elements", "required", "choices", "default")
        }
        found += _entry(name, described, about, 2)
    return "\n".join(found)


def _references(text: str) -> str:
    """A variable's description as a module's option has it: the names of variables are those of options there."""
    return re.sub(
        rf"O\({PREFIX}(\w+)\)",
        lambda match: f"O({match[1]})" if match[1] in argument_spec() else f"C({PREFIX}{match[1]})",
        text,
    )


# Results


def results(*, change: bool) -> str:
    """The keys of an Answer as RETURN has them.

    :param change: whether those are among them that a look leaves empty.
    """
    return "\n".join(
        _keys(Answer, 4, lambda each: each.name not in OF_ANSIBLE and (change or not each.metadata["change"]))
    )


def _keys(shape: Any, indent: int, wanted: Callable[[Any], bool]) -> Iterator[str]:
    types = get_type_hints(shape)
    for each in fields(shape):
        if not wanted(each):
            continue
        kind, elements = _kind(types[each.name])
        about: dict[str, Any] = {}
        about["type"] = "list" if elements else _ANSIBLE.get(kind, "dict")
        if elements:
            about["elements"] = _ANSIBLE.get(kind, "dict")
        if is_dataclass(kind):
            about["contains"] = True
        yield from _entry(each.name, each.metadata["description"], about, indent)
        if is_dataclass(kind):
            yield from _keys(kind, indent + 4, lambda _: True)


_ANSIBLE: dict[Any, str] = {str: "str", int: "int", float: "float", bool: "bool"}


def _kind(hint: Any) -> tuple[Any, bool]:
    """The type of a key or, with True, of its elements."""
    if get_origin(hint) is Union:
        [hint] = [each for each in get_args(hint) if each is not type(None)]
    return (get_args(hint)[0], True) if get_origin(hint) is list else (hint, False)


def result_table() -> str:
    """The keys of an Answer as a Markdown table."""
    rows = ["| key | is |", "|---|---|"]
    types = get_type_hints(Answer)
    for each in fields(Answer):
        if each.name in OF_ANSIBLE:
            continue
        kind, _ = _kind(types[each.name])
        parts = ", ".join(f"`{part.name}`" for part in fields(kind)) if is_dataclass(kind) else ""
        rows.append(
            f"| `{each.name}` | {_markdown(each.metadata['description'])}{f' Keys: {parts}.' if parts else ''} |"
        )
    return "\n".join(rows)


# Releases


def supported_table() -> str:
    """The releases that the role works with, as a Markdown table."""
    server = SUPPORTED["server"]
    return "\n".join(
        [
            "| on | is | releases |",
            "|---|---|---|",
            f"| your machine | ansible-core | {_range(SUPPORTED['controller']['ansible-core'])} |",
            f"| the server | Python of the environment | {_range(server['Python'])} |",
            f"| | pip, where the source is to be installed | {server['pip'][0]} and later |",
            f"| | Alembic | {_range(server['Alembic'])} |",
            f"| | SQLAlchemy | {_range(server['SQLAlchemy'])} |",
            f"| | psycopg2, or psycopg | {_range(server['psycopg2'])}, or {_range(server['psycopg'])} |",
            f"| | PostgreSQL | {_range(server['PostgreSQL'])} |",
        ]
    )


def _range(releases: list[str]) -> str:
    return f"{releases[0]} to {releases[-1]}"


def supported_metadata() -> str:
    """The same for Galaxy."""
    platforms = "".join(
        f"\n    - name: {name}\n      versions: [{', '.join(versions)}]"
        for name, versions in SUPPORTED["platforms"].items()
    )
    return f'  min_ansible_version: "{SUPPORTED["controller"]["ansible-core"][0]}"\n  platforms:{platforms}'


def supported_ranges() -> str:
    """The same for the role's Python."""
    lines = (f'    "{name}": ("{found[0]}", "{found[-1]}"),' for name, found in SUPPORTED["server"].items())
    return "\n".join(["RANGES = {", *lines, "}"])


# Both


def _entry(name: str, description: str, about: Mapping[str, Any], indent: int) -> list[str]:
    """One option or key in YAML, on as few lines as it fits on."""
    pad = " " * indent
    words = f"description: {json.dumps(' '.join(description.split()), ensure_ascii=False)}"
    parts = [f"{key}: {_flow(value)}" for key, value in about.items()]
    if "contains" in about:
        lines = [f"{name}:", *(f"  {part}" for part in (words, *parts[:-1])), "  contains:"]
        return [line for each in lines for line in textwrap.wrap(each, _WIDTH - indent, **_wrapped(pad, each))]
    return textwrap.wrap(f"{name}: {{{', '.join([*parts, words])}}}", _WIDTH, **_wrapped(pad, ""))


def _wrapped(pad: str, line: str) -> dict[str, Any]:
    within = " " * (len(line) - len(line.lstrip()) + 4)
    return {
        "initial_indent": pad,
        "subsequent_indent": pad + within,
        "break_long_words": False,
        "break_on_hyphens": False,
    }


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str) and (not value or value in ("true", "false", "off", "none")):
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def _markdown(text: str) -> str:
    """Ansible's markup (C(), V(), O()) as Markdown."""
    return re.sub(r"\b[CVO]\(([^)]*)\)", r"`\1`", " ".join(text.split()))


def _plain(text: str) -> str:
    return re.sub(r"\b[CVO]\(([^)]*)\)", r"\1", " ".join(text.split()))


def _between(text: str, name: str, fresh: str) -> str:
    """``text`` with ``fresh`` between the marks of that name: <!-- NAME --> in Markdown, # NAME in modules."""
    for begin, end in ((f"<!-- {name} -->", f"<!-- /{name} -->"), (f"# {name}\n", f"# /{name}\n")):
        if begin in text:
            head, _, rest = text.partition(begin)
            _, _, tail = rest.partition(end)
            indent = re.search(r" *$", head)
            return f"{head}{begin.rstrip()}\n{fresh}\n{indent[0] if indent else ''}{end}{tail}"
    return text


def written() -> Iterable[tuple[Path, str]]:
    """Each file that is written to, as it should be."""
    yield ROLE / "defaults" / "main.yml", defaults()
    parts = {
        "variables": variables(),
        "results": result_table(),
        "options": options(),
        "look": results(change=False),
        "answer": results(change=True),
        "supported": supported_table(),
        "metadata": supported_metadata(),
        "ranges": supported_ranges(),
    }
    for path in (
        ROOT / "README.md",
        ROLE / "README.md",
        ROLE / "library" / "rattail_alembic.py",
        ROLE / "library" / "rattail_alembic_info.py",
        ROLE / "meta" / "main.yml",
        ROLE / "module_utils" / "rattail_alembic" / "host" / "distributions.py",
    ):
        text = path.read_text(encoding="utf-8")
        for name, fresh in parts.items():
            text = _between(text, name, fresh)
        yield path, text


def main() -> int:
    """Bring everything in step, or say what is not."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path, text in written():
        if path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale and check:
        print(f"Not in step: {', '.join(stale)}. Run scripts/document.py.")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
