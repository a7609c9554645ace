"""As Ansible sends them, in a zip file: a look's are few, and the role's files are compiled once each."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from conftest import ROLE

# How many of the role's own files a look may send, the module among them. Ansible adds its own, 31 in release 2.16
# and 55 in 2.19. On the controller each costs something in every run, too: it is compiled to find what it imports.
LOOK_FILES = 32

# In a process of its own, because Ansible's loader changes how Python imports.
PACKER = """
import sys
from pathlib import Path
from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_utils_loader
from ansible.template import Templar
init_plugin_loader()
role, name = Path(sys.argv[1]), sys.argv[2]
module_utils_loader.add_directory(str(role / "module_utils"))
packed = modify_module(
    module_name=name, module_path=str(role / "library" / (name + ".py")), module_args={},
    templar=Templar(DataLoader()), task_vars={"ansible_python_interpreter": sys.executable},
)
sys.stdout.buffer.write(packed[0] if isinstance(packed, tuple) else packed.b_module_data)
"""

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


def test_a_look_sends_few_files() -> None:
    command = [sys.executable, "-c", PACKER, str(ROLE), "rattail_alembic_info"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    longest = max(re.findall(rb"[A-Za-z0-9+/=]+", done.stdout), key=len)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(longest))) as payload:
        ours = [name for name in payload.namelist() if "rattail_alembic" in name]
    assert {name.rpartition("/")[2] for name in ours} >= {"rattail_alembic_info.py", "first_look.py"}
    assert len(ours) <= LOOK_FILES, sorted(ours)


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


def test_what_explains_an_old_python_is_run_by_one() -> None:
    """Modules that came with Python 3.9, the first that the role runs on, are not there."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['graphlib', 'zoneinfo'])); sys.path.insert(0, sys.argv[1])\n"
        "from rattail_alembic.observe import first_look, observation, report, request"
    )
    command = [sys.executable, "-c", program, str(ROLE / "module_utils")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
