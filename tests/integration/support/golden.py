"""Stories: what runs of the role print and return, written down, and held against what was written down before."""

from __future__ import annotations

import difflib
import getpass
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from .places import BIN, CACHE, ROOT
from .postgres import OWNER
from .runs import Run
from .server import Server

GOLDEN = Path(__file__).parents[1] / "golden"
UPDATE = "RATTAIL_GOLDEN_UPDATE"
# YAML is folded at 80 columns: the length of a path would decide where
_UNFOLDED = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_CALLBACK_FORMAT_PRETTY": "true"}
# of a longer list, as all pending revisions of core are, only the ends are kept
_LONGEST = 20

# What differs from run to run or from machine to machine, and what stands for it. The type of a value stays, so
# that a number in place of a text is seen, and so is null in place of a number.
_VARYING = [
    # in which file a task stands, and where in it, is not seen by the one who uses the role
    (r"^included: \S+ for ", "included: <tasks> for "),
    (r"^Origin: .*\n(?:\n(?:.+\n)+)?", "Origin: <task>\n"),
    # Ansible shows all variables with their descriptions
    (r'^( +)"argument_spec_data": \{\n(?:\1 .*\n)+\1\}', r'\1"argument_spec_data": "<all variables>"'),
    # filled up to the width of the terminal
    (r" \*{3,}$", ""),
    (r'("(?:\w*seconds|size|port)": )\d[\d.e-]*', r"\1<number>"),
    (r"\b\d+\.\d+ s\b", "<number> s"),
    (r'("(?:alembic|server)_version": )"[\d.]+"', r'\1"<version>"'),
    (r"\bpython3\.\d+\b", "python3.<n>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\b\d{8}T\d{6}Z\b|\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "<time>"),
    # how many digits git shows of a file's id is in its settings
    (r"^index [0-9a-f]+\.\.[0-9a-f]+", "index <file>..<file>"),
]


class Story:
    """The runs on one server, one after another."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._told: list[str] = []
        self._written: list[str] = []
        # or Ansible warns of making it
        (server.root / "ansible" / "remote").mkdir(parents=True)

    def run(self, title: str, vars: Mapping[str, Any] | None = None, **options: Any) -> Run:
        """Run the role as ``Server.run_role`` does, and write down what it printed and returned."""
        run = self.server.run_role(vars, env=_UNFOLDED, **options)
        result = run.result
        assert run.results in ({}, {self.server.app: result}), run.results
        written = (result.get("revision") or {}).get("revision")
        if written and written not in self._written:
            self._written.append(written)
        parts = {
            "exit status": str(run.rc),
            "stdout": run.stdout,
            "stderr": run.stderr,
            "rattail_schema_ext_result": json.dumps(_shortened(result), indent=2, sort_keys=True, ensure_ascii=False),
        }
        self._told.append(f"######## {title}\n")
        self._told += [f"==== {part}\n{text.strip()}\n" for part, text in parts.items() if text.strip()]
        return run

    def hold(self, name: str) -> None:
        """Fail where the story is another than in ``golden/<name>.txt``; where ``UPDATE`` is set, rewrite that file."""
        text, file = self.text(), GOLDEN / f"{name}.txt"
        if os.environ.get(UPDATE):
            file.write_text(text, encoding="utf-8")
        before = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        found = list(difflib.unified_diff(before, text.splitlines(), f"golden/{file.name}", "this run", lineterm=""))
        if found:
            hint = f"If this change is wanted, run the test with {UPDATE}=1 and commit the file."
            pytest.fail("\n".join([*found, "", hint]), pytrace=False)

    def text(self) -> str:
        """The whole story, without what differs between runs."""
        text = "\n".join(self._told)
        for word, name in self._names().items():
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name, text)
        for pattern, name in _VARYING:
            text = re.sub(pattern, name, text, flags=re.M)
        text = re.sub(r"\b[0-9a-f]{40}\b", _numbered("commit"), text)
        owner = rf'("owner": )"{re.escape(getpass.getuser())}"(?=,\n +"path")'
        text = re.sub(owner, r'\1"<user>"', text)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    def _names(self) -> dict[str, str]:
        """What is this server's or this machine's alone → what stands for it; the longest come first."""
        database = self.server.database
        names = {
            str(self.server.root): "<root>",
            database.host: "<socket>",
            database.name: "<database>",
            str(CACHE.resolve()): "<cache>",
            str(CACHE): "<cache>",
            str(BIN.resolve()): "<bin>",
            str(BIN): "<bin>",
            str(ROOT): "<project>",
            **{revision: f"<revision {number}>" for number, revision in enumerate(self._written, 1)},
        }
        if database.user != OWNER:
            names[database.user] = "<role>"
        return dict(sorted(names.items(), key=lambda item: -len(item[0])))


def _shortened(value: Any) -> Any:
    """The same, but of long lists only the first two entries, how many follow, and the last."""
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    kept = [_shortened(each) for each in value]
    return kept if len(kept) <= _LONGEST else [*kept[:2], f"… {len(kept) - 3} more …", kept[-1]]


def _numbered(kind: str) -> Callable[[re.Match[str]], str]:
    """For ``re.sub``: each text that is found gets a number, in the order in which they appear."""
    numbers: dict[str, int] = {}
    return lambda found: f"<{kind} {numbers.setdefault(found[0], len(numbers) + 1)}>"
