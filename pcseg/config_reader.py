"""From YAML to frozen dataclasses and back; any dataclass is a schema, and no key is known here."""

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

T = TypeVar("T")
_NAMES = {int: "a whole number", bool: "true or false", str: "text"}


class ConfigError(ValueError):
    """A mistake in a config or an override; the message names the file and the key."""


def read(schema: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read a file, the files it is based on, and overrides.

    Args:
        schema: dataclass of dataclasses; a field of several kinds is a union of dataclasses with a literal ``kind``,
            the default first.
        path: YAML file; its key ``base`` names a file, relative to this one, or a shipped config, whose values it
            changes.
        overrides: ``a.b=value`` with the value in YAML.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is not of the schema.
    """
    tree = read_tree(path, overrides)
    try:
        return _build(schema, tree, "")
    except ConfigError as error:
        where = f"{path} with {' '.join(overrides)}" if overrides else path
        raise ConfigError(f"{where}: {error}") from None


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """As `read`, without a schema.

    Raises:
        ConfigError: the file cannot be read, or an override is not one.
    """
    tree = _read_file(path)
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {item!r} must look like key=value, as in optimizer.lr=0.001")
        try:
            change: Any = yaml.safe_load(text)
        except yaml.YAMLError:
            remedy = "quote text with special characters, as in 'data.train=[\"*\"]'"
            raise ConfigError(f"override {item!r} is not YAML; {remedy}") from None
        for part in reversed(key.split(".")):
            change = {part: change}
        tree = _merge(tree, change)
    return tree


def from_text(schema: type[T], text: str, ignore: Sequence[str] = ()) -> T:
    """Read what `to_text` wrote.

    Args:
        schema: dataclass of dataclasses, as for `read`.
        text: YAML with the values of the whole config.
        ignore: dotted keys that are skipped, such as options of older versions.

    Raises:
        ConfigError: not YAML, or a key or a value is not of the schema.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    for key in ignore:
        *sections, last = key.split(".")
        functools.reduce(lambda part, name: part.get(name, {}), sections, tree).pop(last, None)
    return _build(schema, tree, "")


def to_text(config: object) -> str:
    """A dataclass with all its values as YAML; `from_text` reads it back unchanged."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def differences(before: object, now: object) -> dict[str, str]:
    """Dotted keys in which two dataclasses differ, each with a text such as "optimizer.lr was 0.001, is 0.002"."""
    old, new = dict(_values(_plain(before), "")), dict(_values(_plain(now), ""))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return {key: f"{key} was {old.get(key, 'absent')}, is {new.get(key, 'absent')}" for key in keys}


def _values(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _values(part, _join(where, key))
    else:
        yield where, value


def _plain(config: Any) -> dict[str, Any]:
    """Lists for tuples, and text for paths."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def shipped_configs() -> dict[str, Path]:
    """Configs by name: files of a wheel's pcseg/configs, or of the folder configs beside the package."""
    package = Path(__file__).parent
    folder = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values, got {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    beside = path.parent / str(base)
    found = beside if beside.is_file() else shipped_configs().get(str(base).removesuffix(".yaml"))
    if found is None:
        raise ConfigError(f"{path}: base is {base}, neither a file beside this one nor a config of pcseg")
    return _merge(_read_file(found), tree)


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {**old, **new}
    for key, value in new.items():
        before = old.get(key)
        # Another kind has other keys: nothing of the old one carries over.
        if isinstance(value, dict) and isinstance(before, dict) and value.get("kind") in (None, before.get("kind")):
            both[key] = _merge(before, value)
    return both


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        by_kind = {option.kind: option for option in args}
        name = value.get("kind", next(iter(by_kind))) if isinstance(value, dict) else None
        if name not in by_kind:
            raise ConfigError(f"{where}.kind is {name!r}; expected one of {', '.join(by_kind)}")
        kind = by_kind[name]
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} is {value!r}; expected one of {', '.join(map(str, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_build(args[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a mapping, got {value!r}")
        return {str(key): _build(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is Path and type(value) in (str, int):  # a folder may be called 2024
        return Path(str(value))
    if kind is float and (type(value) is int or isinstance(value, str)):  # YAML reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"{where} must be a number, got {value!r}") from None
    if type(value) is not kind:
        raise ConfigError(f"{where} must be {_NAMES.get(kind, kind.__name__)}, got {value!r}")
    return value


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where or 'the config'} must be a mapping, got {value!r}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            below = [name for name in dict.fromkeys(_keys(kind, where)) if name.endswith(f".{key}")]
            near = below or [_join(where, name) for name in difflib.get_close_matches(str(key), hints, n=1)]
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known keys: {', '.join(hints)}"
            raise ConfigError(f"unknown key {_join(where, key)!r}; {hint}")
    for field in dataclasses.fields(kind):
        if field.name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(where, field.name)} is missing")
    values = {key: _build(hints[key], item, _join(where, key)) for key, item in value.items()}
    try:
        return kind(**values)
    except ValueError as error:  # its message begins with the name of an option
        raise ConfigError(_join(where, error)) from None


def _keys(kind: Any, where: str) -> Iterator[str]:
    """Dotted keys of a dataclass, or of a union of them, and of the sections in it."""
    for option in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,):
        if dataclasses.is_dataclass(option):
            for key, part in typing.get_type_hints(option).items():
                yield _join(where, key)
                yield from _keys(part, _join(where, key))


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
