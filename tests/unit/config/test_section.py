"""``[alembic]`` in a config file: what is read, what is wanted, and what is written."""

from __future__ import annotations

import warnings
from pathlib import Path
from textwrap import dedent

import pytest
from alembic.config import Config
from alembic_section import APP, CORE, COREPOS, MANUAL, NEW, OLD, rendered, split_locations, wanted_for
from ansible.module_utils.rattail_alembic.config import ini
from ansible.module_utils.rattail_alembic.config import section as sections
from ansible.module_utils.rattail_alembic.config.section import Section, extract, read, replace
from ansible.module_utils.rattail_alembic.cores import CORES
from ansible.module_utils.rattail_alembic.problem import Refused


def put_right(text: str, **changes: object) -> str:
    """What the role makes of a config file's text."""
    data = dedent(text).encode()
    return replace(data, rendered(wanted_for(read(data, "rattail.conf"), **changes))).decode()


class TestRead:
    def test_gives_the_sections_own_options_raw_and_lower_cased(self) -> None:
        section = read(b"[DEFAULT]\nx = 1\n[alembic]\nScript_Location : %(here)s/a\n[other]\ny = 2\n", "f")
        assert section == Section(True, {"script_location": "%(here)s/a"})

    def test_says_that_there_is_none(self) -> None:
        assert read(b"[rattail.db]\ndefault.url = x\n", "f") == Section(False, {})
        assert read(b"", "f") == Section(False, {})

    def test_warns_of_what_alembic_takes_from_default(self) -> None:
        text = b"[DEFAULT]\nsourceless = true\nscript_location = a\nmine = 1\n[alembic]\nscript_location = b\n"
        assert read(text, "f").warnings == ("f: Alembic takes sourceless from [DEFAULT]; set it in [alembic] instead.",)

    @pytest.mark.parametrize(
        ("data", "code", "says"),
        [
            (b"\xef\xbb\xbf[alembic]\n", "config_bom", "rattail.conf, line 1:"),
            (b"[a]\nx = 1\n# caf\xe9\n", "config_encoding", "line 3: byte 0xe9"),
            (b"[a]\r\n# caf\xe9\n", "config_encoding", "line 2: byte 0xe9"),
            (b"[alembic]\na = 1\n[b]\n[alembic]\n", "config_duplicate", "line 4: the section [alembic]"),
            (b"[alembic]\na = 1\nA = 2\n", "config_duplicate", "line 3: a is there a second time in [alembic]"),
            (b"[a]\nx = 1\n [alembic]\n", "config_header", "line 3: Alembic does not take '[alembic]'"),
            (b"[Alembic]\n", "config_header", "line 1: Alembic does not take '[Alembic]'"),
            (b"[a]\n[ alembic ]\n", "config_header", "line 2: Alembic does not take '[ alembic ]'"),
            (b"x = secret\n[alembic]\n", "config_syntax", "line 1: there is text before"),
            (b"[alembic]\nsecret\n", "config_syntax", "line 2: this is neither"),
        ],
    )
    def test_refuses_what_alembic_would_misread(self, data: bytes, code: str, says: str) -> None:
        with pytest.raises(Refused) as caught:
            read(data, "rattail.conf")
        assert caught.value.problem.code == code
        assert says in caught.value.problem.cause
        assert "secret" not in str(caught.value)

    def test_takes_an_indented_header_that_configparser_takes(self) -> None:
        assert read(b"  [alembic]\n  script_location = a\n", "f") == Section(True, {"script_location": "a"})


class TestWanted:
    @pytest.mark.parametrize(
        ("now", "becomes"),
        [
            ("", [APP, COREPOS, CORE]),
            (f"{CORE}", [APP, COREPOS, CORE]),
            (f"{CORE} {APP}", [APP, COREPOS, CORE]),
            (f"{CORE} {COREPOS} {APP}", [APP, COREPOS, CORE]),
            (f"{CORE} x:y", [APP, COREPOS, "x:y", CORE]),
            (f"{CORE} x:y {COREPOS} %(here)s/z {APP}", [APP, "x:y", COREPOS, "%(here)s/z", CORE]),
            (f"x:y {APP} {COREPOS} {CORE}", ["x:y", APP, COREPOS, CORE]),
            (f"{APP} {COREPOS} {CORE} x:y", [APP, COREPOS, "x:y", CORE]),
            (f"{APP} {APP} {COREPOS} {CORE}", [APP, COREPOS, CORE]),
            (f"{CORE} {APP} {COREPOS} {CORE}", [APP, COREPOS, CORE]),
            (f"{APP}/ {COREPOS} {CORE}", [APP, COREPOS, CORE]),
        ],
    )
    def test_order(self, now: str, becomes: list[str]) -> None:
        section = Section(True, {"version_locations": now, "path_separator": "space"})
        assert list(wanted_for(section, integration_locations=[COREPOS]).version_locations) == becomes

    def test_integrations_come_in_the_order_given(self) -> None:
        section = Section(True, {"version_locations": f"b:v a:v {APP} {CORE}", "path_separator": "space"})
        result = wanted_for(section, integration_locations=["a:v", "b:v", "c:v"])
        assert list(result.version_locations) == [APP, "a:v", "b:v", "c:v", CORE]

    def test_nothing_is_needed_where_all_is_well(self) -> None:
        result = wanted_for(read(MANUAL.encode(), "f"))
        assert (result.reasons, result.warnings) == ([], [])

    def test_an_app_that_is_the_core_is_named_once(self) -> None:
        assert wanted_for(Section(False, {}), app_location=CORE).version_locations == [CORE]

    @pytest.mark.parametrize("core", list(CORES.values()), ids=list(CORES))
    def test_script_location_is_what_is_given_or_else_there_or_else_cores(self, core: object) -> None:
        there = Section(True, {"script_location": "poser.db:alembic"})
        given = wanted_for(there, core=core, script_location="/srv/100%/alembic")
        assert given.script_location == "/srv/100%%/alembic"
        assert wanted_for(there, core=core).script_location == "poser.db:alembic"
        empty = Section(True, {"script_location": ""})
        assert wanted_for(empty, core=core).script_location == core.script_location  # type: ignore[attr-defined]

    def test_refuses_two_script_locations(self) -> None:
        with pytest.raises(Refused, match="more than one line"):
            wanted_for(Section(True, {"script_location": "a\nb"}))

    @pytest.mark.parametrize(
        ("version", "options", "name", "separator", "other"),
        [
            (NEW, {}, "path_separator", "space", ""),
            (OLD, {}, "version_path_separator", "space", ""),
            (NEW, {"path_separator": "os"}, "path_separator", "space", ""),
            (NEW, {"path_separator": ":"}, "path_separator", "space", ""),
            (NEW, {"path_separator": ";"}, "path_separator", "space", ""),
            (NEW, {"path_separator": "comma"}, "path_separator", "space", ""),
            (NEW, {"path_separator": "newline"}, "path_separator", "newline", ""),
            (OLD, {"version_path_separator": "newline"}, "version_path_separator", "newline", ""),
            ((1, 13, 2), {"version_path_separator": "newline"}, "version_path_separator", "space", ""),
            (NEW, {"version_path_separator": "newline"}, "path_separator", "newline", "newline"),
            (NEW, {"path_separator": "space", "version_path_separator": "os"}, "path_separator", "space", "space"),
            (OLD, {"path_separator": "os"}, "version_path_separator", "space", "space"),
        ],
    )
    def test_separator(
        self, version: tuple[int, ...], options: dict[str, str], name: str, separator: str, other: str
    ) -> None:
        section = Section(True, {"version_locations": f"{APP}\n{CORE}", **options})
        result = wanted_for(section, alembic_version=version)
        assert (result.separator_name, result.separator, result.other_separator) == (name, separator, other)
        assert list(result.version_locations) == [APP, CORE]

    @pytest.mark.parametrize(
        ("text", "separator", "found"),
        [
            (f"{APP} {CORE}", "os", [APP, CORE]),
            (f"{APP}\n{CORE}", "os", [APP, CORE]),
            (f"/srv/a {APP}\n%(here)s/b", ":", ["/srv/a", APP, "%(here)s/b"]),
            ("/srv/a:%(here)s/b", ":", ["/srv/a", "%(here)s/b"]),
            ("/srv/my app/v:/srv/b", "os", ["/srv/my app/v", "/srv/b"]),
            ("poser:versions", "os", ["poser:versions"]),
            (f"{APP};{CORE}", ";", [APP, CORE]),
            (f"{APP}, {CORE},x:y", "", [APP, CORE, "x:y"]),
            (f"{APP} {CORE}", "comma", [APP, CORE]),
            (f"{APP}\n{CORE}", "space", [APP, CORE]),
            (f"{APP} {CORE}", "newline", [APP, CORE]),
            ("/srv/a,b x:y more/v", "space", ["/srv/a,b", "x:y", "more/v"]),
            ("/srv/my app/v\nx:y", "newline", ["/srv/my app/v", "x:y"]),
            *[("", separator, []) for separator in ("", *sections.SEPARATORS)],
        ],
    )
    def test_locations_are_found_as_written_or_else_by_spaces(
        self, text: str, separator: str, found: list[str]
    ) -> None:
        assert sections.locations_in(text, separator) == found

    @pytest.mark.parametrize(
        ("text", "separator"),
        [
            (f"{APP}:{CORE}", "os"),
            (f"{APP}:{CORE}", ":"),
            (f"{APP}:{CORE}", "space"),
            (f"{APP}:{CORE}", ""),
            (f"/srv/a:{CORE}", "os"),
            ("migrations:more/versions:again", ":"),
            ("/srv/my app/v\n/srv/b:/srv/c", "os"),
            ("/srv/a\nmore/v:/srv/b", "os"),
            ("/srv/my app/v /srv/b", "os"),
            (f"{APP} more/versions", ":"),
            (f"{APP}, {CORE}", "space"),
            (f"{APP}, {CORE}", "os"),
            (f"{APP},{CORE}", "newline"),
            (f"{APP},\n{CORE}", "newline"),
            (f"{APP} ,{CORE}", "space"),
            (f"{APP} x:y;{CORE}", ";"),
            (f"{APP}\n#x", "newline"),
            (f"{APP} ;x {CORE}", "space"),
        ],
    )
    def test_a_list_that_cannot_be_taken_apart_is_refused_with_the_lines_to_write(
        self, text: str, separator: str
    ) -> None:
        options = {"version_locations": text, **({"path_separator": separator} if separator else {})}
        with pytest.raises(Refused) as caught:
            wanted_for(Section(True, options), integration_locations=[COREPOS])
        problem = caught.value.problem
        assert problem.code == "locations_unclear" and repr(text) in problem.cause
        assert (f"path_separator = {separator}." if separator else "no path_separator") in problem.cause
        written = {"version_locations": f"{APP} {COREPOS} {CORE}", "path_separator": "space"}
        for name, value in written.items():
            assert f"{name} = {value}" in problem.remedy
        result = wanted_for(Section(True, {**options, **written}), integration_locations=[COREPOS])
        assert list(result.version_locations) == [APP, COREPOS, CORE]

    def test_the_line_to_write_has_the_older_name_for_an_older_alembic(self) -> None:
        section = Section(True, {"version_locations": f"{APP}:{CORE}", "version_path_separator": "os"})
        with pytest.raises(Refused, match="version_path_separator = space"):
            wanted_for(section, alembic_version=OLD)

    def test_a_location_with_a_space_asks_for_newline(self) -> None:
        section = Section(True, {"version_locations": "/srv/my app/v:/srv/b", "path_separator": "os"})
        assert wanted_for(section, app_location="/srv/my app/v").separator == "newline"
        with pytest.raises(Refused, match="has a space in it"):
            wanted_for(section, app_location="/srv/my app/v", alembic_version=(1, 13, 2))

    @pytest.mark.parametrize(
        ("options", "reasons"),
        [
            ({"version_locations": f"{CORE} {APP}"}, [f"{CORE} is not last"]),
            ({"version_locations": CORE}, [f"{APP} is missing"]),
            ({"version_locations": f"{APP} {APP} {CORE}"}, [f"{APP} is there twice"]),
            ({"path_separator": "os"}, ["path_separator 'os' splits pkg:path at its colon"]),
            ({"path_separator": "comma"}, ["path_separator is 'comma', not 'space'"]),
            (
                {"version_path_separator": "os"},
                ["version_path_separator 'os' splits pkg:path at its colon"],
            ),
            ({"version_locations": f"{APP}\n{CORE}"}, ["version_locations is not written with the separator 'space'"]),
            ({"script_location": "\nx"}, ["script_location is '\\nx', not 'x'"]),
        ],
    )
    def test_reasons(self, options: dict[str, str], reasons: list[str]) -> None:
        there = read(MANUAL.encode(), "f").options
        result = wanted_for(Section(True, {**there, **options}))
        assert result.reasons == reasons

    @pytest.mark.parametrize(
        "spellings",
        [[COREPOS, f"{COREPOS}/"], [f"{COREPOS}/", COREPOS], [f"{APP}//"], [COREPOS.replace(":", ":./"), COREPOS]],
        ids=repr,
    )
    def test_a_location_wanted_in_two_spellings_is_not_missing_for_ever(self, spellings: list[str]) -> None:
        first = wanted_for(Section(False, {}), integration_locations=spellings)
        again = wanted_for(Section(True, first.options()), integration_locations=spellings)
        assert again.reasons == [] and again.version_locations == first.version_locations
        assert len(first.version_locations) == len({sections.key(each) for each in first.version_locations})

    def test_reasons_name_what_is_not_set(self) -> None:
        assert wanted_for(Section(False, {})).reasons == ["there is no [alembic] section"]
        assert wanted_for(Section(True, {})).reasons == [
            f"{APP} is missing",
            f"{CORE} is missing",
            "script_location is not set",
            "path_separator is not set",
        ]

    def test_warns_of_unknown_locations_and_of_a_path_that_shares_the_separator(self) -> None:
        options = {"version_locations": f"{APP} x:y {CORE}", "prepend_sys_path": ".:lib"}
        first, second = wanted_for(Section(True, options)).warnings
        assert first.startswith("[alembic] keeps the version location x:y,")
        assert "prepend_sys_path (.:lib)" in second
        assert len(wanted_for(Section(True, options), alembic_version=OLD).warnings) == 1


class TestReplace:
    def test_a_core_only_section_is_put_right_and_nothing_else_is_touched(self) -> None:
        text = """\
        # the store's server
        [rattail.db]
        default.url = postgresql://rattail:p@ss:w=rd%%@localhost/poser

        [alembic]
        # from the manual
        version_locations : rattail.db:alembic/versions
        ; ours
        file_template = %%(year)d_%%(rev)s
        script_location = rattail.db:alembic

        # logging
        [loggers]
        keys = root
        """
        expected = dedent(text)
        expected = expected.replace(f"version_locations : {CORE}", f"version_locations : {APP} {CORE}")
        expected = expected.replace("rattail.db:alembic\n\n", "rattail.db:alembic\npath_separator = space\n\n")
        assert put_right(text) == expected

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", MANUAL),
            ("\n", "\n" + MANUAL),
            ("[a]\nx = 1", "[a]\nx = 1\n\n" + MANUAL),
            ("[a]\nx = 1\n", "[a]\nx = 1\n\n" + MANUAL),
            ("[a]\nx = 1\n\n", "[a]\nx = 1\n\n" + MANUAL),
            ("# only a comment", "# only a comment\n\n" + MANUAL),
            ("[a]\r\nx = 1\r\n", "[a]\r\nx = 1\r\n\r\n" + MANUAL.replace("\n", "\r\n")),
            ("[a]\r\nx = 1\r\ny = 2\n", "[a]\r\nx = 1\r\ny = 2\n\r\n" + MANUAL.replace("\n", "\r\n")),
            ("[alembic]", MANUAL),
            ("[alembic]\n[b]\n", MANUAL + "[b]\n"),
            ("[alembic]\n\n  [b]\n", MANUAL.replace("\n", "\n  ").rstrip(" ") + "\n  [b]\n"),
            (f"[alembic]\nscript_location=x\nversion_locations={CORE}",
             f"[alembic]\nscript_location=x\nversion_locations={APP} {CORE}\npath_separator = space\n"),
        ],
    )  # fmt: skip
    def test_edges(self, before: str, after: str) -> None:
        assert put_right(before) == after

    def test_the_sections_own_line_endings_are_used(self) -> None:
        text = f"[a]\nx = 1\ny = 2\n[alembic]\r\nversion_locations = {APP} {CORE}\r\npath_separator = os\n[b]\nz = 3\n"
        assert put_right(text) == text.replace("os\n", "space\nscript_location = rattail.db:alembic\r\n")

    def test_many_lines_stay_many_lines_and_keep_their_comments(self) -> None:
        text = f"""\
        [alembic]
          path_separator = newline
          script_location = rattail.db:alembic
          version_locations =
              {CORE}
              # ours

              x:y

        # of the next
          [b]
        """
        assert put_right(text) == dedent(f"""\
        [alembic]
          path_separator = newline
          script_location = rattail.db:alembic
          version_locations =
              {APP}
              x:y
              {CORE}
              # ours

        # of the next
          [b]
        """)

    def test_equal_values_stay_byte_for_byte(self) -> None:
        text = (
            f"[alembic]\nVersion_Locations:{APP}    {CORE}/ \nscript_location=rattail.db:alembic\npath_separator=space"
        )
        assert put_right(text) == text

    def test_percent_signs_are_escaped_once(self, tmp_path: Path) -> None:
        once = put_right("", app_location="/srv/100%/versions")
        assert "version_locations = /srv/100%%/versions rattail" in once
        assert put_right(once, app_location="/srv/100%/versions") == once
        path = tmp_path / "rattail.conf"
        path.write_text(once)
        assert Config(path).get_version_locations_list() == ["/srv/100%/versions", CORE]

    @pytest.mark.parametrize(
        "text", ["[other]\na = 1\n", "[alembic]\na = 1\n[b]\n", "[DEFAULT]\nb = 1\n[alembic]\n", ""]
    )
    def test_refuses_to_put_in_anything_but_the_section(self, text: str) -> None:
        with pytest.raises(Refused) as caught:
            replace(b"", text)
        assert caught.value.problem.code == "section_invalid"

    def test_the_template_says_what_wanted_says(self) -> None:
        for options in ({}, {"path_separator": "newline"}, {"path_separator": "os", "version_path_separator": "os"}):
            result = wanted_for(Section(bool(options), options), integration_locations=[COREPOS, "%(here)s/x"])
            parser = ini.parse(rendered(result), "template")
            assert dict(parser.items("alembic")) == result.options()

    @pytest.mark.parametrize("now", [
        "[alembic]\nversion_locations = rattail.db:alembic/versions, x:y\n",
        "[alembic]\nversion_locations =\n  a:b\n  rattail.db:alembic/versions\npath_separator = newline\n",
        "[alembic]\nversion_locations = a:b poser.db:alembic/versions\nversion_path_separator = os\n",
        "[DEFAULT]\npath_separator = os\n[alembic]\nscript_location = poser.db:alembic\n",
        "",
    ])  # fmt: skip
    def test_the_real_alembic_reads_it_without_a_word(self, now: str, tmp_path: Path) -> None:
        result = wanted_for(read(now.encode(), "f"), integration_locations=[COREPOS])
        path = tmp_path / "rattail.conf"
        path.write_bytes(replace(now.encode(), rendered(result)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            config = Config(path)
            assert config.get_version_locations_list() == list(result.version_locations)
            assert config.get_alembic_option("script_location") == result.script_location


class TestExtract:
    def test_gives_the_section_alone(self) -> None:
        text = "[a]\nx = 1\n[alembic]\r\ny = 2\n  # z\n\n# password = 3\n[b]\nw = 4\n"
        assert extract(text.encode()) == "[alembic]\ny = 2\n"
        assert extract(b"[a]\nx = 1\n") == ""

    def test_hides_urls_in_options_that_are_not_ours(self) -> None:
        text = "[alembic]\nsqlalchemy.url = postgresql://u:p/w@h/db\n# was x://y:z@h\nscript_location = a\n"
        assert extract(text.encode()) == (
            "[alembic]\nsqlalchemy.url = postgresql://***\n# was x://***\nscript_location = a\n"
        )


@pytest.mark.parametrize(
    ("version", "options", "pieces"),
    [
        (NEW, {}, []),
        (NEW, {"version_locations": "a:b,  c  d"}, ["a:b", "c", "d"]),
        (NEW, {"version_locations": "a:b c", "path_separator": "os"}, ["a", "b c"]),
        (NEW, {"version_locations": "a\n b c\n", "path_separator": "space"}, ["a", "b", "c"]),
        (NEW, {"version_locations": "\na\nb c", "path_separator": "newline"}, ["a", "b c"]),
        (NEW, {"version_locations": "a:b;c", "version_path_separator": ";"}, ["a:b", "c"]),
        (OLD, {"version_locations": "a, b", "path_separator": "os"}, ["a", "b"]),
        ((1, 13, 2), {"version_locations": "a\n b", "version_path_separator": "space"}, ["a\n", "b"]),
        ((1, 6, 5), {"version_locations": "a:b c", "version_path_separator": "os"}, ["a:b", "c"]),
    ],
)
def test_split_locations(version: tuple[int, ...], options: dict[str, str], pieces: list[str]) -> None:
    assert split_locations(options, version) == pieces


@pytest.mark.parametrize(
    ("version", "separator"), [(NEW, "comma"), (OLD, ""), ((1, 13, 2), "newline"), ((1, 7, 0), "newline")]
)
def test_split_locations_refuses_an_unknown_separator(version: tuple[int, ...], separator: str) -> None:
    options = {"version_locations": "a", "path_separator": separator, "version_path_separator": separator}
    with pytest.raises(ValueError, match="does not know"):
        split_locations(options, version)
