"""The T9k configuration of this process: which servers to talk to, and with which API key.

It comes from `~/.t9k/t9k-config.yaml`, or from the file that the environment variable `T9K_CONFIG` names; the format is
described in `t9k.config_file`. Nothing is read when this module is imported.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from t9k.config_file import config_path, has_config_path, read_settings, remove_login, save_login

if TYPE_CHECKING:
    import os

__all__ = ["CONFIG", "Config", "config_path", "remove_login", "save_login"]

_T = TypeVar("_T")

_KEYS = ("aistore_host", "asset_hub_host", "api_key")


class Config(Mapping[str, "str | None"]):
    """The settings of the current context of the T9k config file.

    The file is read at the first access and not again until `reload`. A missing file, or a setting that the file lacks,
    gives None. Changes last for this process only; `save_login` and `remove_login` change the file. Safe to use from
    several threads.

    Args:
        path: File to read; by default the one that `config_path` names at the first access.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._changes: dict[str, str | None] = {}
        self._file: dict[str, str | None] | None = None

    def __getitem__(self, key: str) -> str | None:
        """Return a setting.

        Args:
            key: 'aistore_host', 'asset_hub_host' or 'api_key'.

        Returns:
            The setting, or None where it was set nowhere.

        Raises:
            KeyError: No such setting exists.
            InvalidConfig: The config file cannot be used.
        """
        _check_key(key)
        with self._lock:
            if key in self._changes:
                return self._changes[key]
            if self._file is None:
                self._file = self._read()
            return self._file[key]

    def _read(self) -> dict[str, str | None]:
        if self._path is None and not has_config_path():
            return dict.fromkeys(_KEYS)
        return read_settings(config_path() if self._path is None else Path(self._path))

    def __setitem__(self, key: str, value: str | None) -> None:
        """Change a setting for this process; the file stays as it is.

        Args:
            key: 'aistore_host', 'asset_hub_host' or 'api_key'.
            value: The setting, or None for "not set".

        Raises:
            KeyError: No such setting exists.
            InvalidConfig: The value is neither a str nor None.
        """
        self.update({key: value})

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of all settings, set or not."""
        return iter(_KEYS)

    def __len__(self) -> int:
        """Return the number of settings, set or not."""
        return len(_KEYS)

    def __contains__(self, key: object) -> bool:
        """Return whether a setting of that name exists, set or not; reads nothing."""
        return key in _KEYS

    def __repr__(self) -> str:
        """Return where the settings come from, never their values."""
        with self._lock:
            state = "not read yet" if self._file is None else "read"
            return f"<Config {state}, changed here: {', '.join(self._changes) or 'nothing'}>"

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, /, default: str | _T) -> str | _T: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        """Return a setting, or `default` where it is not set or does not exist.

        Args:
            key: Name of the setting.
            default: What to return instead of None.

        Returns:
            The setting or `default`.

        Raises:
            InvalidConfig: The config file cannot be used.
        """
        value = self[key] if key in self else None  # noqa: SIM401 - this is get
        return default if value is None else value

    def update(self, new: Mapping[str, Any], /) -> None:
        """Change several settings for this process: all of them, or none if one cannot be used.

        Args:
            new: Name of the setting -> str, or None for "not set".

        Raises:
            KeyError: No such setting exists.
            InvalidConfig: A value is neither a str nor None.
        """
        for key, value in new.items():
            _check_key(key)
            if value is not None and not isinstance(value, str):
                from t9k.em.errors import InvalidConfig  # noqa: PLC0415 - t9k.em imports this module

                raise InvalidConfig(f"t9k.CONFIG[{key!r}] must be a str or None, not {type(value).__name__}")
        with self._lock:
            self._changes.update(new)

    def to_dict(self) -> dict[str, str | None]:
        """Return all settings as a new dict. It holds the API key: do not print it.

        Raises:
            InvalidConfig: The config file cannot be used.
        """
        return {key: self[key] for key in _KEYS}

    def reload(self) -> None:
        """Forget all changes made in this process, and read the file again at the next access."""
        with self._lock:
            self._changes.clear()
            self._file = None


CONFIG = Config()
"""The settings of this process."""


def _check_key(key: object) -> None:
    if key not in _KEYS:
        from t9k.em.typos import did_you_mean  # noqa: PLC0415 - t9k.em imports this module

        message = f"t9k.CONFIG has no key {key!r}; its keys are {', '.join(_KEYS)}{did_you_mean(key, _KEYS)}"
        raise KeyError(message)
