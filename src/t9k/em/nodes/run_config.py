"""The run config file: YAML that holds arguments of `create_run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from t9k.em.errors import InvalidConfig
from t9k.em.typos import did_you_mean

MAX_BYTES = 1 << 20


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str), "a string"),
    "hparams": (lambda value: isinstance(value, dict), "a mapping"),
    "labels": (_is_texts, "a list of strings"),
    "description": (lambda value: isinstance(value, str), "a string"),
    "auto_upload": (lambda value: isinstance(value, bool), "true or false"),
    "folder": (lambda value: isinstance(value, str), "a string"),
    "make_folder": (lambda value: isinstance(value, bool), "true or false"),
    "conflict_strategy": (lambda value: isinstance(value, str), "a string"),
    "system_metrics": (_is_number, "a number of seconds"),
    "output": (lambda value: isinstance(value, str), "a string"),
}


def read_run_config(path: Path) -> dict[str, Any]:
    """Read a run config file.

    Args:
        path: The file.

    Returns:
        The arguments of `create_run` that it gives; a key without a value counts as missing.

    Raises:
        InvalidConfig: The file is missing, no YAML, larger than 1 MiB, or a key is unknown or its value of a wrong type.
    """
    from t9k.em.local import yamlfile  # noqa: PLC0415 - slow to import, and not every run has a config

    try:
        data = yamlfile.load(path, aliases=True, what="run config", error=InvalidConfig, max_bytes=MAX_BYTES)
    except OSError as error:
        raise InvalidConfig(f"cannot read the run config {path}: {error.strerror}; check the path") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidConfig(f"the run config {path} must be a mapping like 'name: mnist', not a {type(data).__name__}")
    for key, value in data.items():
        if key not in _FIELDS:
            raise InvalidConfig(
                f"the run config {path} has the unknown key {key!r}; known are: {', '.join(_FIELDS)}{did_you_mean(key, _FIELDS)}"
            )
        is_valid, form = _FIELDS[key]
        if value is not None and not is_valid(value):
            raise InvalidConfig(f"the run config {path} needs {form} for {key!r}, not {value!r}")
    return {key: value for key, value in data.items() if value is not None}
