# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The database URL that the app's own ``make_config`` finds, read without importing the app.

Sources: ``wuttjamaican/conf.py`` and ``wuttjamaican/db/conf.py`` 0.18.1 to 0.33, ``rattail/config.py``
and ``rattail/db/config.py`` 0.21, and python-configuration 0.12, which they keep their settings in.
What is not reproduced here raises :class:`Unsure`, never another answer.
"""

from __future__ import annotations

import configparser
import io
import os
import re
import shlex
from collections.abc import Mapping

from ..cores import Core
from ..host import distributions
from ..host.environment import version_tuple
from ..postgres.url import learn_passwords, parse_url
from ..problem import Refused
from . import ini

Settings = dict[str, str]

# Before this, values were not interpolated, and a file was read again each time it was named.
_FIRST_RELEASE = (0, 18, 1)

# Options of an engine that change nothing about its URL and cannot fail with these values.
_HARMLESS = re.compile(
    r"url=(?!.*plugin).*|pool_pre_ping=.*"
    r"|echo(_pool)?=(?i:true|yes|on|1|false|no|off|0)"
    r"|(pool_size|max_overflow|pool_recycle|pool_timeout)=[0-9]+",
    re.ASCII | re.DOTALL,
)


class Unsure(Exception):
    """Only the app's own ``make_config`` knows, for this reason."""


def database_url(config_file: str, core: Core, environ: Mapping[str, str]) -> str:
    """The URL of ``make_config(config_file, usedb=False).appdb_engine``, password included, as it was written.

    What a config extension of the app may do to the engine afterwards is not seen.

    :raises Refused: where the app would have no database, or fail on its files.
    :raises Unsure: where a setting is in use whose meaning is not reproduced here.
    """
    release = distributions.version("WuttJamaican")
    if release is None or version_tuple(release) < _FIRST_RELEASE:
        raise Unsure(f"WuttJamaican {release} reads config files in another way, or is not installed")
    prefix = core.config_prefix
    layers = _layers(config_file, prefix, environ)
    keys = _listed(_get(layers, f"{prefix}.db.keys") or "default", config_file)
    settings = _below(layers, f"{prefix}.db")
    urls = {key.strip(): _engine_url(settings, key.strip(), core) for key in keys}
    url = urls.get("default")
    if not url:
        url_line = "default.url = postgresql://user:password@host/database"
        missing = url_line if "default" in urls else "default to the list keys"
        raise Refused(
            "database_unconfigured",
            f"{config_file} and the files it includes configure no database for {core.name}.",
            f"Add {missing} in section [{prefix}.db] of {config_file}.",
        )
    return url


def direct_url(config_file: str, core: Core, environ: Mapping[str, str], option: str) -> str:
    """The URL for migrations that the app's config files have at ``option`` (``section:option``), password included.

    :raises Refused: where there is none, it is no URL of a PostgreSQL database, or the files cannot be read.
    """
    section, _, name = (part.strip() for part in option.partition(":"))
    if not section or not name or "//" in option or "@" in option:
        # It may be a URL with a password, and so is not shown.
        raise Refused(
            "database_option_invalid",
            "rattail_schema_ext_database_option does not name an option of a config file.",
            "Write it as section:option, e.g. rattail.db:migration.url; the URL itself stays in the host's config.",
        )
    # configparser has the names of options in lower case.
    url = _get(_layers(config_file, core.config_prefix, environ), f"{section}.{name.lower()}")
    if not url:
        raise Refused(
            "database_option_missing",
            f"{config_file} and the files it includes have no option {name} in section [{section}], "
            "which rattail_schema_ext_database_option names.",
            f"Add {name} = postgresql://user:password@host/database there, or correct the variable.",
        )
    try:
        parse_url(url)
    except Refused as refused:
        problem = refused.problem
        cause = problem.cause.replace("The database URL in the app's config", f"{name} in [{section}]")
        raise Refused(problem.code, cause, problem.remedy) from None
    return url


def _layers(config_file: str, prefix: str, environ: Mapping[str, str]) -> list[Settings]:
    """The settings of every file that the app reads, those of earlier ones first."""
    files: dict[str, Settings] = {}

    def load(path: str, required_by: str) -> None:
        """Read a file, and then those that it requires and includes."""
        path = os.path.abspath(path)
        if path in files:
            return
        settings = _read(path)
        if settings is not None:
            files[path] = settings
            for option, requiring in (("require", path), ("include", "")):
                for each in _listed(settings.get(f"{prefix}.config.{option}", ""), path):
                    load(each, requiring)
        elif required_by:
            raise Refused(
                "config_require_missing",
                f"The config file {path} cannot be read, which {required_by} requires.",
                "Create it, make it readable, or take it out of the list.",
            )

    variable = f"{prefix.upper()}_CONFIG_PLUS_FILES"
    for path in [config_file, *(environ[variable].split(os.pathsep) if variable in environ else [])]:
        load(path, required_by=variable)
    return list(files.values())


def _read(path: str) -> Settings | None:
    """The settings of one file, by ``section.option``; None where it cannot be read.

    As in ``WuttaConfig._load_ini_configs``, they are interpolated, written and read again, which can change them.
    """
    parser = configparser.ConfigParser(defaults={"here": os.path.dirname(path), "__file__": path})
    try:
        if not parser.read(path):
            return None
        written = configparser.RawConfigParser()
        for name in parser.sections():
            written[name] = dict(parser.items(name, raw=name.startswith("formatter_")))
        text = io.StringIO()
        written.write(text)
        again = configparser.RawConfigParser()
        again.optionxform = str  # type: ignore[assignment,method-assign]
        # Written as UTF-8, read in the locale's encoding.
        again.read_string(io.TextIOWrapper(io.BytesIO(text.getvalue().encode("utf-8"))).read())
    except configparser.InterpolationError as error:
        raise Refused(
            "config_interpolation",
            f"{path}: the value of {error.option} in [{error.section}] has a % that stands for no option.",
            "Write %% for a percent sign, or add the option.",
        ) from None
    except UnicodeDecodeError:
        raise ini.wrong_encoding(f"{path} is not in the locale's encoding.") from None
    except configparser.Error as error:
        raise ini.unreadable(error, path) from None
    settings = {f"{name}.{option}": value for name in again.sections() for option, value in again.items(name)}
    for value in settings.values():
        learn_passwords(value)
    return settings


def _listed(text: str, path: str) -> list[str]:
    """``wuttjamaican.util.parse_list``: words between white space and commas, quotes taken off."""
    lexer = shlex.shlex(text)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        raise Refused(
            "config_quote", f"{path}: a list of files or keys has a quote that is not closed.", "Close it."
        ) from None
    return [word[1:-1] if word[:1] == word[-1:] and word[:1] in ("'", '"') else word for word in words]


def _get(layers: list[Settings], key: str) -> str | None:
    """``WuttaConfig.get``: in each file, settings below a key hide the value of the key itself."""
    for settings in layers:
        if any(name.startswith(f"{key}.") for name in settings):
            return None
        if key in settings:
            return settings[key]
    return None


def _below(layers: list[Settings], key: str) -> Settings:
    """``WuttaConfig.get_dict``: all settings below ``key``, those of earlier files first."""
    found: Settings = {}
    for settings in reversed(layers):
        below = {name[len(key) + 1 :]: value for name, value in settings.items() if name.startswith(f"{key}.")}
        if not below and key in settings:
            raise Unsure(f"{key} is a value of its own in one file")
        found.update(below)
    return found


def _engine_url(settings: Settings, key: str, core: Core) -> str | None:
    """``get_engines``: the URL of one engine that the app is sure to be able to make; None where it has none.

    The app makes all its engines at once, and fails where one of them cannot be made.
    """
    harmless_here = ("record_changes", "log_pool_status") if core.name == "rattail" else ()
    for prefix in ("default.", "sqlalchemy.") if key == "default" else (f"{key}.",):
        options = {name[len(prefix) :]: value for name, value in settings.items() if name.startswith(prefix)}
        # The app imports a poolclass before it looks for the URL.
        if not options.keys() & {"url", "poolclass"}:
            continue
        for name, value in sorted(options.items()):
            if name not in harmless_here and not _HARMLESS.fullmatch(f"{name}={value}"):
                raise Unsure(f"what {core.config_prefix}.db.{prefix}{name} does to the engine is not reproduced")
        if key != "default":
            try:
                parse_url(options["url"])
            except Refused:
                raise Unsure(f"{core.config_prefix}.db.{prefix}url is not one that is read here") from None
        return options["url"]
    return None
