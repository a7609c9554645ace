"""For any config file: nothing outside ``[alembic]`` changes, and a second application changes nothing."""

from __future__ import annotations

import configparser
import io
import os
import re
import tempfile
import warnings
from pathlib import Path

import pytest
from alembic import __version__ as alembic_release
from alembic.config import Config
from alembic_section import APP, CORE, COREPOS, NEW, OLD, rendered, split_locations, wanted_for
from ansible.module_utils.rattail_alembic.config import ini, section
from ansible.module_utils.rattail_alembic.config.section import Section, extract, read, replace
from ansible.module_utils.rattail_alembic.problem import Refused
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.property

RELEASE = tuple(int(part) for part in re.findall(r"\d+", alembic_release)[:3])
INDENTS = st.sampled_from(["", "", "", "", " ", "  ", "\t", "    "])
SPECS = st.sampled_from(
    [APP, CORE, COREPOS, "x:y", "%(here)s/z", "/srv/a", "100%%/b", f"{APP}/", "/srv/my app/v", ";x"]
)
GLUE = st.sampled_from([" ", " ", "  ", ", ", ",", ":", ";", "\n  ", "\n\t# no\n   ", "\n\n     "])
WORDS = st.sampled_from(["", "a", "é ☃", "[alembic]", "x = y", "# no", "; no", "%(a)s %", "p@ss:w=rd", "\x0b\x85 z"])
NAMES = st.sampled_from(["keys", "URL", "a.b", "é", "prepend_sys_path", "file template", "version_locations.x"])
OURS = st.sampled_from(
    ["script_location", "version_locations", "Version_Locations", "path_separator", "version_path_separator"]
)


@st.composite
def options(draw: st.DrawFn, name: str) -> str:
    """An option with its value, on one line or several."""
    delimiter = draw(st.sampled_from([" = ", "=", ": ", " : ", ":", " =  "]))
    if name.endswith(("separator", "ocation", "ocations")):
        if name.endswith("separator"):
            value = draw(st.sampled_from(["space", "newline", "os", ":", "", "comma"]))
        else:
            value = draw(GLUE).join(draw(st.lists(SPECS, max_size=5)))
    else:
        value = draw(WORDS)
        for line in draw(st.lists(WORDS, max_size=2)):
            value += "\n" + draw(st.sampled_from([" ", "     ", "\t\t"])) + line
    return draw(INDENTS) + name + delimiter + value + "\n"


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Text much like a config file, some of which configparser refuses."""
    rest = st.sampled_from(["", "# note\n", "  ; note\n", "\n", "   \n", "\n# of the next\n\n"])
    names = draw(st.lists(st.sampled_from(["a", "DEFAULT", "rattail.db", "x y", "é"]), unique=True, max_size=3))
    if draw(st.integers(0, 3)):
        names.insert(draw(st.integers(0, len(names))), "alembic")
    text = draw(rest)
    for name in names:
        text += draw(INDENTS) + f"[{name}]" + draw(st.sampled_from(["", " ", " # x"])) + "\n"
        of_this = NAMES | OURS if name == "alembic" else NAMES
        # Now and then an option twice, which is refused.
        unique_by = str if draw(st.integers(0, 30)) == 0 else str.lower
        for option in draw(st.lists(of_this, max_size=5, unique_by=unique_by)):
            text += draw(rest) + draw(options(option))
        text += draw(rest)
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    ends = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "mixed"]))
    if ends == "mixed":
        return "".join(line + draw(st.sampled_from(["\n", "\r\n"])) for line in text.split("\n")).encode()
    return text.replace("\n", ends).encode()


REQUESTS = st.fixed_dictionaries(
    {
        "integration_locations": st.sampled_from([[], [COREPOS], ["/srv/a", COREPOS]]),
        "script_location": st.sampled_from([None, "poser.db:alembic"]),
        "alembic_version": st.sampled_from([NEW, OLD, (1, 6, 5)]),
    }
)


def sections(data: bytes) -> dict[str, dict[str, str]]:
    """Every section as configparser itself reads it from a file."""
    parser = configparser.RawConfigParser(default_section="nothing of this name")
    parser.read_file(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    return {name: dict(parser[name]) for name in parser.sections()}


def line_ends(data: bytes) -> set[bytes]:
    """The kinds of line ending in a file."""
    return set(re.findall(rb"\r\n|\r|\n", data))


def comments(data: bytes) -> list[bytes]:
    """Every full-line comment, in order."""
    return [line for line in data.splitlines() if line.strip().startswith((b"#", b";"))]


def outside(data: bytes) -> tuple[bytes, bytes]:
    """What comes before ``[alembic]`` and what comes after it, found line by line and with no help of ours."""
    text = data.decode()
    lines = io.StringIO(text, newline="").readlines()
    parser = configparser.RawConfigParser()
    first = last = len(lines)
    for count in range(1, len(lines) + 1):
        before = set(parser.sections())
        parser = configparser.RawConfigParser()
        parser.read_string("".join(line.rstrip("\r\n") + "\n" for line in lines[:count]))
        opened = set(parser.sections()) - before
        if "alembic" in opened:
            first = count - 1
        elif first < len(lines) and last == len(lines) and (opened or _is_header(lines[count - 1], parser)):
            last = count - 1
    return "".join(lines[:first]).encode(), "".join(lines[last:]).encode()


def _is_header(line: str, parser: configparser.RawConfigParser) -> bool:
    if not line.strip().startswith("[DEFAULT]"):
        return False
    return not any(line.strip() in value.split("\n") for name in parser.sections() for value in parser[name].values())


@settings(max_examples=300, deadline=None)
@given(files(), REQUESTS)
def test_replace(data: bytes, request: dict[str, object]) -> None:
    try:
        there = read(data, "f")
        wanted = wanted_for(there, **request)
    except Refused as refused:
        event(refused.problem.code)
        return
    event(f"section {'present' if there.present else 'missing'}")
    section = rendered(wanted)
    result = replace(data, section)

    assert (result != data) == bool(wanted.reasons), wanted.reasons
    assert replace(result, section) == result
    again = wanted_for(read(result, "f"), **request)
    assert not again.reasons
    assert again.version_locations == wanted.version_locations

    old, new = sections(data), sections(result)
    ours = new.pop("alembic")
    for name, value in wanted.options().items():
        assert ours.pop(name).split() == value.split() or name == "version_locations"
    kept = old.pop("alembic", {})
    assert new == old
    assert ours == {name: value for name, value in kept.items() if name not in wanted.options()}
    assert split_locations(read(result, "f").options, NEW if wanted.separator_name == "path_separator" else OLD)

    lines = {line.strip() for line in extract(result).splitlines()}
    assert lines <= {line.strip() for line in result.decode().splitlines()} | {""}
    assert comments(result) == comments(data)
    assert len(line_ends(data)) != 1 or line_ends(result) == line_ends(data)
    if there.present:
        before, after = outside(data)
        assert result.startswith(before)
        assert result.endswith(after)
    else:
        assert result.startswith(data)


@settings(max_examples=200, deadline=None)
@given(files())
def test_scan_loses_nothing_and_reads_as_configparser_does(data: bytes) -> None:
    text = data.decode()
    try:
        parser = ini.parse(text, "f")
    except Refused:
        assume(False)
    lines = ini.scan(text)
    assert "".join(line.text + line.end for line in lines) == text
    found = {(line.section, line.option) for line in lines if line.kind == "option"}
    own = {(name, option) for name in parser.sections() for option in parser[name] if option not in parser.defaults()}
    assert own <= found
    assert {name for name, _ in found} <= {*parser.sections(), "DEFAULT"}


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["path_separator", "version_path_separator"]),
        st.sampled_from(["space", "newline", "os", ":", ";", "comma"]),
    ),
    st.text(alphabet="ab:/,;# \n", max_size=12),
)
def test_the_installed_alembic_agrees(separators: dict[str, str], text: str) -> None:
    """Before: it splits as ours says. After: it finds what was wanted, and does not complain."""
    parser = configparser.RawConfigParser()
    parser["alembic"] = {**separators, "version_locations": text.strip().replace("\n\n", "\n")}
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        path = Path(directory, "f.conf")
        with path.open("w") as file:
            parser.write(file)
        before = path.read_bytes()
        there = read(before, "f")
        warnings.simplefilter("ignore")
        try:
            theirs = Config(os.fspath(path)).get_version_locations_list() or []
        except ValueError:
            with pytest.raises(ValueError, match="does not know"):
                split_locations(there.options, RELEASE)
        else:
            assert split_locations(there.options, RELEASE) == theirs
        try:
            wanted = wanted_for(there, alembic_version=RELEASE)
        except Refused as refused:
            assert refused.problem.code in ("location_space", "locations_unclear")
            return
        path.write_bytes(replace(before, rendered(wanted)))
        warnings.simplefilter("error")
        found = Config(os.fspath(path)).get_version_locations_list() or []
        assert [section.key(spec) for spec in found] == [section.key(spec) for spec in wanted.version_locations]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([APP, "other.db:v", "i:1", "i:2", "i:3", CORE, "x:y"]), unique=True),
    st.lists(st.sampled_from(["i:1", "i:2", "i:3"]), unique=True).map(sorted),
    st.lists(st.sampled_from(["i:1", "i:2", "i:3"]), unique=True).map(sorted),
)
def test_two_apps_over_one_file_come_to_rest(now: list[str], ours: list[str], theirs: list[str]) -> None:
    section = Section(True, {"path_separator": "space", "version_locations": " ".join(now)})
    for turn in range(8):
        app, integrations = (APP, ours) if turn % 2 else ("other.db:v", theirs)
        result = wanted_for(section, app_location=app, integration_locations=integrations)
        assert set(now) <= set(result.version_locations)
        changed = [*section.options["version_locations"].split()] != [*result.version_locations]
        section = Section(True, result.options())
        assert not changed or turn < 6
