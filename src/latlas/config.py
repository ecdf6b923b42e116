"""Reads, changes and writes configurations; recipes and config.toml are TOML files of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import reduce
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args

import tomlkit
from pydantic import BaseModel, ValidationError

from latlas import reading, toml_text
from latlas.errors import InputError, unknown
from latlas.limits import LIMITS
from latlas.settings import Config, OwnConfig
from latlas.text import briefly, clauses, shortened

# Faults of a configuration, far more than a line has room for: an unknown key is compared with all keys.
MOST_EXPLAINED = 100


def parse(values: Mapping[str, Any], where: str) -> Config:
    """A configuration from nested values; `where` names their origin in errors.

    Raises InputError that names each wrong key or value, the allowed values and the nearest known key.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        reasons: dict[str, list[str]] = {}
        faults = error.errors(include_url=False)
        for place, reason in (_explain(dict(e)) for e in faults[:MOST_EXPLAINED]):
            said = reasons.setdefault(place, [])
            said += [reason] if reason not in said else []
        lines = [place + ", or ".join(messages) for place, messages in reasons.items()]
        count = len(faults) if len(faults) > MOST_EXPLAINED else None
        raise InputError(clauses(lines, count), field=where) from None


def _explain(error: dict[str, Any]) -> tuple[str, str]:
    """An error of pydantic in two parts: the key with its value, and the reason."""
    keys, place = known_keys(), [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return _unknown_key(".".join(place)), ""
    # pydantic appends the branch of a union to the place ("sigma.float"): keep the part that is a key.
    while len(place) > 1 and ".".join(place) not in keys:
        place.pop()
    if error["type"] == "tuple_type":
        return f"{'.'.join(place)} = {briefly(error['input'])}: ", "expected a list, as [1, 2]"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return (f"{'.'.join(place)} = {briefly(error['input'])}: " if place else ""), message


def _unknown_key(key: str) -> str:
    section, _, last = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known_keys() if k.startswith(f"{section}.") or not section}
    near = get_close_matches(last, siblings, n=1, cutoff=0.5) or get_close_matches(
        key, Config.model_fields, n=1
    )
    hint = f"; did you mean {siblings.get(near[0], near[0])}?" if near else ""
    allowed = sorted(siblings.values()) if section and siblings else sorted(Config.model_fields)
    return f"unknown key {shortened(key)}{hint} (known: {', '.join(allowed)})"


def known_keys() -> dict[str, str]:
    """Every key of a configuration that a person may write, with its description."""
    keys: dict[str, str] = {}
    for name, field in Config.model_fields.items():
        section = field.annotation
        if section is OwnConfig:
            continue
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys |= {f"{name}.{k}": f.description or "" for k, f in section.model_fields.items()}
        else:
            keys[name] = field.description or ""
    return keys


def override(config: Config, changes: Mapping[str, Any], where: str) -> Config:
    """The configuration with dotted keys (`likelihood.sigma`) set to new values.

    Epochs take the place of a number of steps that was there before. Raises InputError as `parse` does.
    """
    values = config.model_dump()
    if changes.get("training.epochs") is not None:
        changes = {"training.steps": None, **changes}
    for key, value in changes.items():
        *sections, last = key.split(".")
        target = reduce(
            lambda d, part: d.setdefault(part, {}) if isinstance(d, dict) else {}, sections, values
        )
        if isinstance(target, dict):
            target[last] = value
        else:
            raise InputError(
                f"unknown key {key} ({'.'.join(sections)} is a value, not a section)", field=where
            )
    return parse(values, where)


def keeping_rate(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody asks for; a learning rate in it is kept, however few steps a budget leaves."""
    return ({"optimizer.short_factor": 1.0} if "optimizer.lr" in changes else {}) | dict(changes)


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` strings as dotted keys and values; a value is read as TOML, else as a string.

    Raises InputError for a string without `=`.
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InputError("expected KEY=VALUE, as likelihood.name=gaussian", field="settings", value=pair)
        if len(text) > (most := LIMITS["value_length"].most):
            raise InputError(f"a value of {len(text):,} characters; at most {most:,}", field=briefly(key))
        changes[key.strip()] = _value(text.strip())
    return changes


def _value(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    for attempt in (text, f"[{text}]" if "," in text else text):
        try:
            return toml_text.parsed(f"value = {attempt}")["value"]
        except ValueError:
            continue
    return text


def read(path: Path, base: Config | None = None) -> Config:
    """The configuration in a TOML file.

    Missing keys are taken from `base`. A file with a [recipe] section is complete: its missing keys have their
    defaults. Raises InputError if the file is missing, is not TOML, or holds an unknown key or a wrong value.
    """
    try:
        values = toml_text.parsed(toml_text.text_of(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration file") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as TOML: {error}") from None
    # TOML has no null: a complete file, which names its recipe, leaves out the keys that were left to the data.
    if base is None or "recipe" in values:
        return parse(values, str(path))
    return override(base, keeping_rate(dotted(values)), str(path))


def read_kept(folder: Path, name: str) -> Config:
    """The configuration in a file of a run's folder, which is complete.

    Raises InputError as `reading.content` and `parse` do.
    """
    return parse(reading.toml(folder, name), str(folder / name))


def dotted(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested values by dotted key: {"objective": {"beta": 1}} as {"objective.beta": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= dotted(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat


# Settings that do not change what a run learns: where files are, how a run is described, stored and drawn.
ASIDE = ("recipe.summary", "recipe.ids", "recipe.data", "data.data_dir", "training.device", "training.threads",
         "training.log_every", "training.snapshot_every", "training.snapshot_epochs",
         "training.snapshot_weights", "evaluation", "pictures")  # fmt: skip


def settings_of(config: Config, without: Iterable[str] = ASIDE) -> dict[str, Any]:
    """The configuration by dotted key, as JSON values, without the keys and sections in `without`."""
    excluded = set(without)
    flat = dotted(config.model_dump(mode="json"))
    return {k: v for k, v in flat.items() if k not in excluded and k.partition(".")[0] not in excluded}


def to_toml(config: Config, comments: bool = False) -> str:
    """The configuration as TOML; with `comments` each key is explained, and unset keys are comments."""
    document = tomlkit.document()
    document.add("seed", tomlkit.item(config.seed))
    for name in Config.model_fields:
        section = getattr(config, name)
        # What no file can hold is not explained to those who write one.
        if isinstance(section, BaseModel) and (name != "own" or section != OwnConfig()):
            document.add(name, _table(section, comments))
    return tomlkit.dumps(document)


def _table(section: BaseModel, comments: bool) -> tomlkit.items.Table:
    table = tomlkit.table()
    if comments and type(section).__doc__:
        table.add(tomlkit.comment(str(type(section).__doc__)))
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        comment = _comment(field.description or "", field.annotation)
        if value is None:
            if comments:
                table.add(tomlkit.comment(f"{key} =      # {comment}"))
            continue
        entry = tomlkit.item(list(value) if isinstance(value, tuple) else value)
        table.add(key, entry.comment(comment) if comments and comment else entry)
    return table


def _comment(description: str, annotation: Any) -> str:
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    choices = [str(c) for p in parts if getattr(p, "__origin__", None) is Literal for c in get_args(p)]
    return f"{description} ({' | '.join(choices)})" if len(choices) > 1 else description


def recipe_names() -> list[str]:
    """Names of the recipes inside the package."""
    return sorted(
        f.name[:-5] for f in (resources.files("latlas") / "recipes").iterdir() if f.name.endswith(".toml")
    )


def recipe(name: str) -> Config:
    """The recipe of that name.

    Raises InputError with the nearest known name.
    """
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    text = ((resources.files("latlas") / "recipes") / f"{name}.toml").read_text(encoding="utf-8")
    return parse(toml_text.parsed(text), f"recipe {name}")
