"""What an environment holds, with real pip installs into real environments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible.module_utils.rattail_alembic.host import environment
from ansible.module_utils.rattail_alembic.problem import Refused

# A build backend of its own (PEP 517, 660), so that pip installs for real without asking an index for one.
BACKEND = """\
import pathlib, re, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    here = pathlib.Path(__file__).parent
    needs = re.findall('"(.*?)"', re.search(r"^needs = (.*)$", (here / "pyproject.toml").read_text(), re.M)[1])
    lines = ["Metadata-Version: 2.1", "Name: poser", "Version: 1.0", *(f"Requires-Dist: {need}" for need in needs)]
    files = {
        "poser.pth": f"{here}\\n",
        "poser-1.0.dist-info/METADATA": "\\n".join(lines) + "\\n",
        "poser-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "poser-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(f"{wheel_directory}/poser-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return "poser-1.0-py3-none-any.whl"
"""

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[tool.poser]
needs = [{needs}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment, and the source of an app installed into it as editable."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(place / "env")], check=True)
    (place / "src" / "poser").mkdir(parents=True)
    (place / "src" / "poser" / "__init__.py").touch()
    install(place)
    return place


def install(place: Path, *needs: str) -> None:
    (place / "src" / "backend.py").write_text(BACKEND)
    (place / "src" / "pyproject.toml").write_text(PYPROJECT.format(needs=", ".join(f'"{need}"' for need in needs)))
    command = [str(place / "env/bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--editable", str(place / "src")], check=True)


def reason(place: Path, app: str = "poser", source: Path | None = None) -> str:
    """What the environment's own Python says of the install."""
    parent = Path(environment.__file__).parents[2]
    code = (
        f"import sys; sys.path.insert(0, {str(parent)!r});"
        "from rattail_alembic.host.environment import install_reason;"
        f"print(install_reason({app!r}, {str(source or place / 'src')!r}))"
    )
    done = subprocess.run([str(place / "env/bin/python"), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_install_that_is_as_it_should_be(place: Path) -> None:
    assert reason(place) == ""


def test_not_installed(place: Path) -> None:
    assert reason(place, "nowhere") == "nowhere is not installed"


def test_imported_from_elsewhere(place: Path, tmp_path: Path) -> None:
    assert reason(place, source=tmp_path) == f"poser is imported from {place}/src/poser"


def test_packaging_files_that_changed_make_it_stale_even_with_an_old_modification_time(place: Path) -> None:
    time.sleep(0.05)
    pyproject = place / "src" / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "\n")
    os.utime(pyproject, (0, 0))  # as rsync --times leaves it
    assert reason(place) == "pyproject.toml changed since the install"
    install(place)
    assert reason(place) == ""


@pytest.mark.parametrize(
    ("dependency", "unmet"),
    [
        ("no-such-package", "the dependency no-such-package is not met"),
        ("pip>=1.0", ""),
        ("no-such-package; python_version < '3'", ""),
        ("no-such-package; extra == 'never'", ""),
    ],
)
def test_declared_dependencies(place: Path, dependency: str, unmet: str) -> None:
    install(place, dependency)
    assert reason(place) == unmet
    install(place)


def test_a_dependency_in_the_wrong_version(place: Path) -> None:
    install(place, "pip<1.0")
    assert reason(place).startswith("the dependency pip<1.0 (installed: ")
    install(place)


@pytest.mark.parametrize(
    ("version", "numbers"), [("1.16.4", (1, 16, 4)), ("1.20", (1, 20)), ("1.17.0b1", (1, 17)), ("2", (2,))]
)
def test_version_tuple(version: str, numbers: tuple[int, ...]) -> None:
    assert environment.version_tuple(version) == numbers


def test_missing_packages_are_named_with_the_interpreter() -> None:
    with pytest.raises(Refused) as caught:
        environment.version_of("no-such-distribution")
    assert sys.executable in str(caught.value) and "pip install no-such-distribution" in str(caught.value)


def test_a_user_that_does_not_exist_and_one_that_we_are_not() -> None:
    with pytest.raises(Refused) as caught:
        environment.refuse_wrong_user("no-such-user")
    assert caught.value.problem.code == "user_unknown"
    other = "root" if os.geteuid() else "nobody"
    with pytest.raises(Refused) as caught:
        environment.refuse_wrong_user(other)
    assert "Add `become: true` to the play" in str(caught.value)


def test_below_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert environment.is_below(str(tmp_path / "link" / "inner"), str(tmp_path / "real"))
    assert not environment.is_below(str(tmp_path / "realistic"), str(tmp_path / "real"))
