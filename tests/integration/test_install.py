"""What the environment imports: the app from its source, and everything else that has to be there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support import environments
from support.places import CACHE, POSER, locked
from support.repository import Repository, git
from support.server import HOST, Server
from support.states import brought, check, difference, refused, state

CORE_HEAD = "c2ef84c99c93"


def packages(server: Server) -> Path:
    """The directory in which the server's environment keeps its packages."""
    return environments.site_packages(server.env_dir)


def ask(server: Server, expression: str) -> str:
    """What the environment's Python answers."""
    command = [str(server.python), "-c", f"import importlib.metadata as metadata; print({expression})"]
    done = subprocess.run(command, cwd=server.env_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imported_from(server: Server) -> str:
    """The directory that the environment imports the app from."""
    return ask(server, f"__import__({server.app!r}).__path__[0]")


def make_wheel(directory: Path, version: str = "1.0") -> None:
    """Put a release of ``shelf-labels``, a package that nobody else has, into ``directory``."""
    directory.mkdir(exist_ok=True)
    info = f"shelf_labels-{version}.dist-info"
    with zipfile.ZipFile(directory / f"shelf_labels-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("shelf_labels.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: shelf-labels\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def only_from(server: Server, directory: Path) -> None:
    """Let the environment's pip take packages from ``directory`` and from nowhere else."""
    server.vars["rattail_schema_ext_pip_extra_args"] += f" --no-index --find-links {directory}"


def declare(server: Server, old: str, new: str) -> str:
    """Commit a change of pyproject.toml, and return the commit's id."""
    text = (server.repository.path / "pyproject.toml").read_text()
    assert old in text
    return server.repository.commit({"pyproject.toml": text.replace(old, new)})


def depend_on(server: Server, requirement: str) -> str:
    return declare(server, '"psycopg2-binary",', f'"psycopg2-binary",\n        "{requirement}",')


def add_revision(server: Server) -> str:
    return server.repository.add_revision("add colour", upgrade_sql="alter table poser_widget add colour text")


def without(server: Server, *names: str) -> None:
    """Take packages out of a light environment: link all others into it, one by one."""
    here = packages(server)
    (here / "_packages_of_base.pth").unlink()
    for path in environments.site_packages(environments.base(server.core)).iterdir():
        if not path.name.lower().startswith(names) and not (here / path.name).exists():
            (here / path.name).symlink_to(path)


# Released packages, which may have forgotten their revisions


def test_a_release_that_lacks_its_revisions_is_refused(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server(repository=None)
    release = Repository.of_poser(tmp_path / "release")
    shutil.rmtree(release.versions)
    server.pip("install", "--quiet", "--no-build-isolation", "--no-deps", str(release.path))
    refused(
        server,
        "The version location poser.db:alembic/versions leads to "
        f"{packages(server)}/poser/db/alembic/versions, which does not exist.",
        "Install a release of poser that ships it",
    )


@pytest.mark.parametrize("forgotten", [True, False], ids=["without revisions", "not installed"])
def test_an_integration_that_has_no_revisions_is_refused(deployed: Server, forgotten: bool) -> None:
    location = "rattail_corepos.db:alembic/versions"
    if forgotten:
        origin = environments.site_packages(environments.base("rattail")) / "rattail_corepos"
        copy = packages(deployed) / "rattail_corepos"
        shutil.copytree(origin, copy, ignore=shutil.ignore_patterns("versions", "__pycache__"))
        words = f"{location} leads to {copy}/db/alembic/versions, which does not exist"
    else:
        without(deployed, "rattail_corepos")
        words = f"{location} leads nowhere: {deployed.python} has no package 'rattail_corepos'"
    refused(deployed, words, vars={"rattail_schema_ext_integrations": ["rattail_corepos"]})


def without_tables(repository: Repository) -> None:
    """The app becomes one that has integrations, and no models or revisions of its own."""
    config = (repository.path / "poser" / "config.py").read_text()
    models = [path for path in (repository.path / "poser" / "db").rglob("*") if path.is_file()]
    gone: dict[str, str | None] = {str(path.relative_to(repository.path)): None for path in models}
    repository.commit({**gone, "poser/config.py": config.replace("poser.db.model", "rattail.db.model")})


INTEGRATED = {"rattail_schema_ext_integrations": ["rattail_corepos"]}


def test_an_app_that_has_only_integrations_is_deployed(make_server: Callable[..., Server], tmp_path: Path) -> None:
    repository = Repository.of_poser(tmp_path / "poser.git")
    without_tables(repository)
    server = make_server(content="core", repository=repository)
    run = brought(server, INTEGRATED)
    assert {each["branch"] for each in run.result["applied"]} == {"rattail_corepos"}
    assert server.current() == server.database.heads()


def test_a_release_of_one_is_told_what_it_lacks(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server(content="core", repository=None)
    release = Repository.of_poser(tmp_path / "release")
    without_tables(release)
    install = ("install", "--quiet", "--no-build-isolation", "--no-deps", "--force-reinstall", str(release.path))
    server.pip(*install)
    message = refused(server, "has the package 'poser', which has no poser.db in it", vars=INTEGRATED)
    assert "no package" not in message
    # the remedy helps
    release.commit({"poser/db/__init__.py": "", "poser/db/alembic/versions/README": ""})
    server.pip(*install)
    run = server.run_role(INTEGRATED)
    assert (run.rc, run.result["state"]) == (0, "current"), run.output


def test_an_integration_without_a_db_package_is_told_from_one_that_is_not_installed(deployed: Server) -> None:
    (packages(deployed) / "rattail_corepos").mkdir()
    (packages(deployed) / "rattail_corepos" / "__init__.py").write_text("")
    refused(
        deployed,
        "has the package 'rattail_corepos', which has no rattail_corepos.db in it",
        "or take it out of rattail_schema_ext_integrations",
        vars=INTEGRATED,
    )


# Where the app is imported from


def elsewhere(server: Server) -> str:
    """Let the environment import the app from another checkout, as pip would have made it do."""
    other = server.root / "elsewhere"
    git(server.root, "clone", "--quiet", str(server.repository.path), str(other))
    for file in (*packages(server).glob("*poser*.pth"), *packages(server).glob("poser-*/direct_url.json")):
        file.write_text(file.read_text().replace(str(server.source_dir), str(other)))
    return str(other / "poser")


def released(server: Server) -> str:
    """Let the environment import the app from a release beside its packages."""
    server.pip("install", "--quiet", "--no-build-isolation", "--no-deps", "--force-reinstall", str(server.source_dir))
    return str(packages(server) / "poser")


@pytest.mark.parametrize("arrange", [elsewhere, released], ids=lambda arrange: arrange.__name__)
def test_an_app_imported_from_elsewhere_is_put_right_or_refused(
    deployed: Server, arrange: Callable[[Server], str]
) -> None:
    there = arrange(deployed)
    assert imported_from(deployed) == there
    refused(
        deployed,
        str(deployed.source_dir),
        there,
        f"{deployed.python} -m pip install --editable {deployed.source_dir}",
        vars={"rattail_schema_ext_install_enabled": False},
    )
    run = brought(deployed)
    assert run.result["todo"] == ["install"] and there in run.result["install_reason"]
    assert imported_from(deployed) == str(deployed.source_dir / "poser")


# An environment that cannot do it


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("alembic",), ["has no package 'alembic'", "-m pip install alembic"]),
        (("psycopg2",), ["No module named 'psycopg2'", "-m pip install --upgrade psycopg2-binary"]),
        (("rattail", "wuttjamaican"), ["has no package 'rattail'", "-m pip install 'rattail[db]' psycopg2-binary."]),
        (
            ("rattail", "wuttjamaican", "alembic", "psycopg2"),
            ["has no packages 'rattail' and 'alembic'", "-m pip install 'rattail[db]' psycopg2-binary alembic."],
        ),
        (("alembic", "pip"), ["-m ensurepip && ", "-m pip install alembic"]),
    ],
    ids=["alembic", "psycopg2", "rattail", "all", "pip, too"],
)
def test_a_package_that_is_missing_is_named_with_the_interpreter(
    deployed: Server, names: tuple[str, ...], words: list[str]
) -> None:
    add_revision(deployed)
    without(deployed, *names)
    refused(deployed, str(deployed.python), *words)


def test_a_driver_that_cannot_be_loaded_is_told_apart_from_a_missing_one(deployed: Server) -> None:
    add_revision(deployed)
    broken = packages(deployed) / "psycopg2"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libpq.so.5: cannot open shared object file')\n")
    refused(deployed, str(deployed.python), "psycopg2", "libpq.so.5: cannot open shared object file")


def gone(server: Server) -> str:
    server.env_dir.rename(server.root / "moved")
    return f"There is no Python environment at {server.env_dir}"


def no_environment(server: Server) -> str:
    shutil.rmtree(server.env_dir / "bin")
    return f"{server.python} does not exist"


def python_gone(server: Server) -> str:
    """As after an upgrade of the operating system."""
    server.python.unlink()
    server.python.symlink_to("/usr/bin/python3.2")
    return f"{server.python} does not exist"


@pytest.mark.parametrize("spoil", [gone, no_environment, python_gone], ids=lambda spoil: spoil.__name__)
def test_an_environment_that_is_not_there_is_named(deployed: Server, spoil: Callable[[Server], str]) -> None:
    words = spoil(deployed)
    promised = check(deployed)
    assert promised.result["state"] == "unknown" and words in promised.result["state_reason"]
    before = state(deployed)
    run = deployed.run_role()
    assert (run.rc, run.recaps[HOST].failed, difference(before, state(deployed))) == (2, 1, []), run.output
    assert words in run.message and "rattail_schema_ext_env_dir" in run.message
    assert "Traceback" not in run.output


def test_a_python_that_cannot_run_says_so(deployed: Server) -> None:
    deployed.python.unlink()
    deployed.python.write_text("#!/nowhere/python\n")
    deployed.python.chmod(0o755)
    refused(deployed, f"{deployed.python} cannot be run")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("poser/db/model/widgets.py", "class Widget(:\n", "SyntaxError"),
        ("poser/config.py", "import shelf_labels\n", "No module named 'shelf_labels'"),
    ],
    ids=["syntax error", "import error"],
)
def test_an_app_that_cannot_be_imported_leaves_code_and_database_as_they_were(
    deployed: Server, file: str, text: str, words: str
) -> None:
    good = (deployed.repository.path / file).read_text()
    deployed.repository.commit({file: text})
    new = add_revision(deployed)
    first, heads = deployed.git("rev-parse", "HEAD"), deployed.database.heads()
    run = deployed.run_role()
    assert run.rc == 2 and "Traceback" not in run.output, run.output
    for word in (words, str(deployed.python), "'poser'", f"Now the checkout is at {first}"):
        assert word in run.message, run.message
    assert (deployed.git("rev-parse", "HEAD"), deployed.database.heads()) == (first, heads)
    assert deployed.git("status", "--porcelain") == ""
    deployed.repository.commit({file: good})
    run = deployed.run_role()
    assert run.rc == 0 and deployed.current() == {CORE_HEAD, new}, run.output


# pip


def test_an_entry_point_that_was_added_arrives(deployed: Server) -> None:
    entry_points = '[project.entry-points."wutta.config.extensions"]\n'
    declare(deployed, entry_points, f'{entry_points}"poser.more" = "poser.config:PoserConfig"\n')
    new = add_revision(deployed)
    names = "sorted(e.name for e in metadata.entry_points(group='wutta.config.extensions') if 'poser' in e.name)"
    assert ask(deployed, names) == "['poser']"
    run = brought(deployed)
    assert run.result["todo"] == ["source", "install", "upgrade"]
    assert run.result["install_reason"] == "pyproject.toml changes"
    assert ask(deployed, names) == "['poser', 'poser.more']"
    assert deployed.current() == {CORE_HEAD, new}


def test_an_unmet_dependency_is_met(deployed: Server, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels")
    only_from(deployed, tmp_path / "wheels")
    depend_on(deployed, "shelf-labels>=1.0")
    run = deployed.run_role()
    assert run.rc == 0, run.output
    assert ask(deployed, "metadata.version('shelf-labels')") == "1.0"
    deployed.pip("uninstall", "--quiet", "--yes", "shelf-labels")
    run = brought(deployed)
    assert (run.result["todo"], run.result["source"]["before"]) == (["install"], deployed.repository.commit_id)
    assert run.result["install_reason"] == "the dependency shelf-labels>=1.0 is not met"
    assert ask(deployed, "metadata.version('shelf-labels')") == "1.0"


def test_where_pip_fails_nothing_goes_further_and_the_next_run_heals(deployed: Server, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    only_from(deployed, tmp_path / "wheels")
    first, heads = deployed.git("rev-parse", "HEAD"), deployed.database.heads()
    depend_on(deployed, "shelf-labels>=2.0")
    new = add_revision(deployed)
    run = deployed.run_role()
    assert run.rc == 2 and "Traceback" not in run.output, run.output
    assert f"{deployed.source_dir} could not be installed: " in run.message
    assert "No matching distribution found for shelf-labels>=2.0" in run.message
    assert f"Now the checkout is at {first}" in run.message and run.result["source"]["after"] == first
    assert [task for task in run.tasks if task.action == "rattail_alembic"] == []
    assert (deployed.git("rev-parse", "HEAD"), deployed.database.heads()) == (first, heads)
    assert imported_from(deployed) == str(deployed.source_dir / "poser")
    make_wheel(tmp_path / "wheels", "2.1")
    run = deployed.run_role()
    assert run.rc == 0 and run.result["source"]["after"] == deployed.repository.commit_id, run.output
    assert ask(deployed, "metadata.version('shelf-labels')") == "2.1"
    assert deployed.current() == {CORE_HEAD, new}


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        (
            {"setup.py": "raise RuntimeError('no wheel today')"},
            "did not run successfully: RuntimeError: no wheel today.",
        ),
        ({"setup.py": "import setuptools_git_nowhere"}, "No module named 'setuptools_git_nowhere'."),
        ({"pyproject.toml": "[project]\nname = 'x"}, 'TOMLDecodeError: Expected "\'" (at end of document).'),
        (
            {"pyproject.toml": "[build-system]\nrequires = ['nosuch-backend']\nbuild-backend = 'nosuch'"},
            "ModuleNotFoundError: No module named 'nosuch'.",
        ),
    ],
    ids=["setup", "import", "syntax", "backend"],
)
def test_of_what_pip_says_the_cause_is_shown(
    deployed: Server, tmp_path: Path, files: Mapping[str, str], cause: str
) -> None:
    only_from(deployed, tmp_path)
    deployed.repository.commit({"pyproject.toml": None, **files})
    run = deployed.run_role()
    assert f"{deployed.source_dir} could not be installed: " in run.message, run.output
    assert f"{cause} Mend what pip says, then run again." in run.message, run.message
    assert len(run.message) < 600, run.message


def test_an_install_that_was_cut_short_is_made_by_the_next_run(deployed: Server) -> None:
    for path in packages(deployed).glob("poser-*.dist-info"):
        shutil.rmtree(path)
    run = brought(deployed)
    assert run.result["todo"] == ["install"]
    assert ask(deployed, "metadata.version('poser')") == "0.1.0"


@pytest.mark.parametrize("works", [True, False], ids=["pip works", "pip fails"])
def test_a_password_among_pip_s_arguments_is_shown_nowhere(deployed: Server, works: bool) -> None:
    declare(deployed, 'description = "', 'description = "More of ')
    if not works:
        depend_on(deployed, "shelf-labels>=2.0")
    arguments = "--no-build-isolation --retries 0 --extra-index-url https://store:opensesame@127.0.0.1:1/simple"
    secret = {"rattail_schema_ext_pip_extra_args": arguments + ("" if works else " --index-url http://127.0.0.1:1/")}
    run = deployed.run_role(secret, args=["-vvv"])
    assert run.rc == (0 if works else 2), run.output
    assert run.result["todo"] == ["source", "install"]
    assert [line for line in run.output.splitlines() if "opensesame" in line] == []


# Which pip there is


def has(server: Server, *requirements: str) -> None:
    """Put other releases of packages into the server's environment, from a copy that is kept."""
    name = "-".join(requirements).replace("==", "-")
    kept = CACHE / "packages" / name
    with locked(kept.with_suffix(".lock")):
        if not kept.is_dir():
            unfinished = kept.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            server.pip("install", "--quiet", "--no-deps", "--target", str(unfinished), *requirements)
            unfinished.rename(kept)
    shutil.copytree(kept, packages(server), dirs_exist_ok=True)


SETUP_PY = """
from setuptools import setup
setup(
    name="Poser",
    version="0.1.0",
    packages=["poser"],
    install_requires=["psycopg2-binary"],
    entry_points={"wutta.config.extensions": ["poser = poser.config:PoserConfig"]},
)
"""


def by_setup_py(repository: Repository) -> str:
    return repository.commit({"setup.py": SETUP_PY, "pyproject.toml": None}, "Build with setup.py")


@pytest.mark.parametrize("below", ["", "src/"], ids=["at the top", "below src"])
def test_an_app_that_has_a_setup_py_only_is_installed_once(make_server: Callable[..., Server], below: str) -> None:
    """As Debian's pip does, which leaves a link in place of a record."""
    server = make_server()
    repository = server.repository
    by_setup_py(repository)
    if below:
        (repository.path / "src").mkdir()
        (repository.path / "poser").rename(repository.path / "src" / "poser")
        text = SETUP_PY.replace("packages=", "package_dir={'': 'src'}, packages=")
        repository.commit({"setup.py": text}, "Move the package")
    server.vars["rattail_schema_ext_pip_extra_args"] = "--no-deps"
    has(server, "pip==24.0", "setuptools==75.8.0", "wheel==0.45.1")
    brought(server)
    assert [*packages(server).glob("*.egg-link")] and not [*packages(server).glob("poser-*.dist-info")]
    assert imported_from(server) == str(server.source_dir / below / "poser")
    if below:
        return
    # what changes there is seen as well
    repository.commit({"setup.py": SETUP_PY.replace("0.1.0", "0.2.0")})
    assert brought(server).result["todo"] == ["source", "install"]
    assert ask(server, "metadata.version('poser')") == "0.2.0"
    shutil.rmtree(server.source_dir / "Poser.egg-info")
    assert brought(server).result["todo"] == ["install"]
    # and so is another way to build
    repository.commit({"setup.py": None, "pyproject.toml": (POSER / "pyproject.toml").read_text()})
    server.vars["rattail_schema_ext_pip_extra_args"] += " --no-build-isolation"
    brought(server)
    assert [*packages(server).glob("poser-*.dist-info")] and not [*packages(server).glob("*.egg-link")]


def follow(server: Server, message: str) -> None:
    """Do what a remedy says."""
    [command] = re.findall(rf"{server.python} (-m .+?)(?:,|\.$)", message)
    done = subprocess.run([server.python, *shlex.split(command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_environment_without_pip_is_refused_where_the_app_is_to_be_installed(
    make_server: Callable[..., Server],
) -> None:
    """As `uv venv` makes them."""
    server = make_server()
    without(server, "pip")
    follow(server, refused(server, f"{server.python} has no pip", "rattail_schema_ext_install_enabled: false"))
    brought(server)
    # where nothing is to be installed, none is needed
    for path in packages(server).glob("pip*"):
        shutil.rmtree(path)
    add_revision(server)
    brought(server)


def test_a_pip_that_is_too_old_for_how_the_app_is_built_is_refused(make_server: Callable[..., Server]) -> None:
    """As Debian 11 has it."""
    server = make_server()
    newer = server.repository.commit_id
    has(server, "pip==20.3.4", "setuptools==75.8.0")
    message = refused(server, "pip 20.3.4 is older than 21.3")
    by_setup_py(server.repository)
    server.vars["rattail_schema_ext_pip_extra_args"] = "--no-deps"
    brought(server)
    server.repository.git("reset", "--quiet", "--hard", newer)
    assert refused(server, "pip 20.3.4") == message
    follow(server, message)
    server.vars["rattail_schema_ext_pip_extra_args"] = "--no-deps --no-build-isolation"
    brought(server)


def test_a_python_that_is_too_old_is_named(deployed: Server) -> None:
    """A program that says what an old Python says of itself: none is to be had everywhere."""
    deployed.python.unlink()
    deployed.python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3.8.1 && exit\nexit 1\n')
    deployed.python.chmod(0o755)
    refused(deployed, "Python 3.8.1 is older than 3.9", "Make the environment anew")
