"""params.yaml from conf/, by Hydra, without losing what somebody edited by hand."""

from __future__ import annotations

import difflib
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.config.grid import expand
from bench.config.params import PARAMS, Params
from bench.config.plan import read_plan
from bench.config.plugged import used_by_tasks, with_plugins
from bench.config.preset import with_preset
from bench.config.strict import parse_section, parse_yaml, read_text, shown
from swq.errors import UserError, one_of
from swq.files import write_text

CONF = Path("conf")
HEADER = "# Composed from conf/ by `python -m bench compose`; people edit conf/, not this file. sha256 "
OVER = "# Settings put over conf/: "


def compose(suite: str, overrides: Sequence[str] = (), force: bool = False) -> str:
    """Write params.yaml for `suite`. Settings such as `protocol.limit=50` override conf/.

    Raises:
        UserError: there is no such suite, conf/ is not valid, or params.yaml holds changes made by hand.
    """
    if not CONF.is_dir():
        raise UserError("there is no conf/ here; run from the repository's top folder")
    body = composed(suite, overrides)
    if overrides:
        body = f"{OVER}{shlex.join(overrides)}\n{body}"
    if PARAMS.exists() and not force:
        _refuse_if_edited(read_text(PARAMS))
    named = yaml.safe_load(body).get("suite")
    if isinstance(named, dict):
        raise UserError(f"conf/suite/{suite}.yaml must begin with the line `# @package _global_`")
    if named != suite:
        raise UserError(f"conf/suite/{suite}.yaml says suite: {named!r}; it must be {suite!r}, like its file name")
    parse_section(Params, body, f"conf/ for suite {suite}")
    write_text(PARAMS, f"{HEADER}{_digest(body)}\n{body}")
    return f"params.yaml now holds suite {suite}; `python -m bench run` runs it"


def composed(suite: str, overrides: Sequence[str] = ()) -> str:
    """Return the YAML that conf/ composes to for `suite` with these overrides."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    suites = [path.stem for path in (CONF / "suite").glob("*.yaml")]
    if suite not in suites:
        raise UserError(one_of("suite", suite, suites))
    _check_files([CONF / "config.yaml", CONF / "suite" / f"{suite}.yaml"])
    chosen = [f"suite={suite}", *overrides]
    try:
        with initialize_config_dir(str(CONF.absolute()), version_base=None):
            config: Any = OmegaConf.to_container(hydra_compose("config", overrides=chosen), resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise UserError(_why_not(suite, " ".join(str(error).split()))) from error
    if "grid" in config:
        expanded, baselines = expand(suite, config.pop("grid"))
        config["cells"] = expanded | _mapping(config, "cells")
        config["report"] = _mapping(config, "report")
        config["report"]["baselines"] = baselines | _mapping(config["report"], "baselines")
    elif isinstance(config.get("report"), dict):
        config["report"].setdefault("baselines", {})  # DVC asks for the key
    named = config.get("plan")
    config["plan"] = None if named is None else read_plan(named)  # DVC asks for this key too
    cells = config.get("cells")
    if isinstance(cells, dict):
        config["cells"] = {key: with_plugins(with_preset(key, cell)) for key, cell in cells.items()}
    protocol = config.get("protocol")
    if isinstance(protocol, dict) and (used := used_by_tasks(protocol.get("tasks"))):
        protocol["plugins"] = used
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)


def _check_files(waiting: list[Path]) -> None:
    """Check files of conf/, and those that their `defaults` name, for what Hydra ends in a traceback on.

    Raises:
        UserError: as `parse_yaml`, or one is no mapping, or names no files in its defaults.
    """
    unread = set(CONF.rglob("*.yaml"))
    while waiting:
        path = waiting.pop()
        if path not in unread:  # was read already, or is not there, which Hydra says
            continue
        unread.remove(path)
        values = parse_yaml(read_text(path), str(path))
        if not isinstance(values, dict | None):
            raise UserError(f"{path} must hold a mapping")
        if "hydra" in (values or {}):
            raise UserError(f"{path}: the key 'hydra' would configure Hydra itself; leave it out")
        defaults = (values or {}).get("defaults")
        for entry in defaults if isinstance(defaults, list) else []:
            names = [*entry, *entry.values()] if isinstance(entry, dict) else [entry]
            if not names or not all(isinstance(name, str) and 0 < len(name) <= 128 for name in names):
                raise UserError(f"{path}: defaults: {shown(entry)} is no file's name, such as /protocol/quick")
            folder = CONF if names[0].startswith("/") else path.parent
            waiting.append(folder / f"{names[0].lstrip('/')}.yaml")


def _why_not(suite: str, said: str) -> str:
    """Return Hydra's message, without its advice to append a value: that would drop the values beside it."""
    given = re.match(r"Could not override '([^']*)'", said)
    if given:
        return (
            f"setting {given[1]!r}: conf/ holds no such value to override; values of a grid or a preset are changed"
            f" in conf/suite/{suite}.yaml"
        )
    return f"conf/ does not compose: {said}"


def _mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise UserError(f"{key}: beside a grid it must be a mapping (given: {shown(found)})")
    return found


def overrides_of(text: str) -> list[str]:
    """Return the overrides that a params.yaml was composed with.

    Raises:
        UserError: the line that holds them was damaged.
    """
    found = [line.removeprefix(OVER) for line in text.splitlines()[:2] if line.startswith(OVER)]
    try:
        return shlex.split(found[0]) if found else []
    except ValueError as error:
        raise UserError(f"the line {OVER.strip()!r} of params.yaml cannot be read: {error}") from error


@dataclass(frozen=True)
class Origin:
    """How a params.yaml relates to conf/.

    Attributes:
        by_hand: somebody edited it after it was composed, or it was never composed.
        current: what conf/ composes to now for its suite and overrides; empty if conf/ has no such suite.
        same: it holds the same values as `current`; the order of keys and comments do not count.
    """

    by_hand: bool
    current: str
    same: bool


def origin_of(text: str) -> Origin:
    """Compare the text of a params.yaml with conf/.

    Raises:
        UserError: it is not YAML, or conf/ does not compose.
    """
    by_hand = not _as_composed(text)
    given = parse_yaml(text, str(PARAMS))
    suite = given.get("suite") if isinstance(given, dict) else None
    known = isinstance(suite, str) and (CONF / "suite" / f"{suite}.yaml").is_file()
    current = composed(str(suite), overrides_of(text)) if known else ""
    return Origin(by_hand, current, given is not None and yaml.safe_load(current) == given)


def _as_composed(text: str) -> bool:
    """Say whether a params.yaml is exactly what a composition wrote."""
    first, _, body = text.partition("\n")
    return first.startswith(HEADER) and first.removeprefix(HEADER) == _digest(body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _refuse_if_edited(text: str) -> None:
    """Raise if `text` was edited by hand and conf/ does not compose to the same values."""
    if _as_composed(text):
        return
    try:
        origin = origin_of(text)
    except UserError as error:
        raise UserError(f"{error}; it was edited by hand: correct it, or compose with --force to drop it") from error
    if origin.same:
        return
    if not origin.current:
        raise UserError(
            "params.yaml was edited by hand and names no suite of conf/; correct it, or compose with --force to replace"
            " it"
        )
    first, _, body = text.partition("\n")
    written = body if first.startswith("#") else text
    written = written.split("\n", 1)[1] if written.startswith(OVER) else written
    difference = difflib.unified_diff(
        origin.current.splitlines(), written.splitlines(), "conf/", "params.yaml", "", "", 1, ""
    )
    lines = "\n".join(difference)
    raise UserError(
        "params.yaml was edited by hand; move the change into conf/, or compose with --force to drop it."
        " The difference between conf/ (-) and params.yaml (+):\n" + lines
    )
