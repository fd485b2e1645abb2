"""Options in a TOML or YAML file, with the names of the flags; what is given as a flag wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from interpret.cli.inputs import also_reading
from interpret.errors import MissingFileError, UsageError


def with_file(context: typer.Context, given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Options of a file, where the command line left its own at their defaults.

    Args:
        context: of the command; its flags check the values.
        given: what the command line gave or left alone, by name of the parameter; the file may set these.
        path: the file. A flag `--text-column` is `text_column` there, or `text-column`.

    Raises:
        MissingFileError: there is no such file.
        UsageError: not TOML or YAML, an unknown key, or a value that the flag would not take.
    """
    params = {param.name: param for param in context.command.params if param.name in given}
    flags = {_flag(param): name for name, param in params.items()}
    out = dict(given)
    for key, value in _read(path, list(flags)).items():
        name = flags.get(key.replace("-", "_"))
        if name is None:
            raise UsageError(f"--config {path} has the unknown key {key}; it takes {', '.join(flags)}")
        source = context.get_parameter_source(name)
        if source is None or source.name in ("DEFAULT", "DEFAULT_MAP"):
            out[name] = _converted(context, params[name], key, value, path)
    also_reading(out)
    return out


def _flag(param: Any) -> str:
    longest = max(param.opts, key=len) if param.param_type_name == "option" else param.name
    first = next((name for name in param.opts if name.startswith("--")), longest)
    return str(first).lstrip("-").replace("-", "_")


def _read(path: Path, flags: list[str]) -> dict[str, Any]:
    import tomllib

    import yaml

    if not path.is_file():
        raise MissingFileError(f"there is no file {path}, which --config names")
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix.lower() == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as err:
        raise UsageError(f"cannot read --config {path}: {' '.join(str(err).split())}") from err
    if not isinstance(found, dict):
        raise UsageError(f"--config {path} holds no keys; it takes {', '.join(flags)}")
    return {str(key): value for key, value in found.items()}


def _converted(context: typer.Context, param: Any, key: str, value: Any, path: Path) -> Any:
    """The value as the flag would have given it."""
    several = bool(getattr(param, "multiple", False))
    values = value if isinstance(value, list) and several else [value]
    flag = bool(getattr(param, "is_flag", False))
    plain = (bool,) if flag else (str, int, float)
    for one in values:
        if not isinstance(one, plain) or (isinstance(one, bool) and not flag):
            wanted = "true or false" if flag else "one word or number" if not several else "words or numbers"
            raise UsageError(f"--config {path}: {key} is {value!r}; it must be {wanted}")
    if flag:
        return value
    try:
        # As text, so that 1.5 is no more a whole number here than it is on the command line.
        found = param.process_value(context, [str(one) for one in values] if several else str(value))
    except Exception as err:
        # Typer carries click within itself or beside itself, by its version: its errors are told by what they do.
        if not hasattr(err, "format_message"):
            raise
        why = " ".join(err.format_message().split()).partition(": ")[2].replace("Value error, ", "").rstrip(".")
        raise UsageError(f"--config {path}: {key} is {value!r}; {why[:1].lower()}{why[1:]}") from err
    return list(found) if several else found
