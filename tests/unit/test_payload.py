"""As Ansible sends them, in a zip file, the role's files are compiled once each."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from conftest import ROLE

PROGRAM = """
import builtins, collections, sys
compiled = collections.Counter()
compile = builtins.compile
def counting(source, name, *more, **named):
    compiled[name] += 1
    return compile(source, name, *more, **named)
builtins.compile = counting
sys.path.insert(0, sys.argv[1])
from rattail_alembic.observe import look
assert look.__file__ == sys.argv[1] + "/rattail_alembic/observe/look.py", look.__file__
named = {name.partition("/rattail_alembic/")[2]: number for name, number in compiled.items()}
counts = {name: number for name, number in named.items() if name}
print(len(counts), sorted(name for name, number in counts.items() if number > 1))
"""


def test_each_file_is_compiled_once(tmp_path: Path) -> None:
    payload = tmp_path / "payload.zip"
    with zipfile.ZipFile(payload, "w") as archive:
        for file in (ROLE / "module_utils" / "rattail_alembic").rglob("*.py"):
            archive.write(file, str(file.relative_to(ROLE / "module_utils")))
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(payload)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    number, twice = done.stdout.split(" ", 1)
    assert int(number) > 20
    # the package itself is found by zipimport
    assert twice.strip() == "['__init__.py']"
