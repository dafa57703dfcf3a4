"""Turn hyperparameters into plain data, whatever they are: nothing that a training passes may stop it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from t9k.em.patterns import lazily

Path: TypeAlias = "tuple[str | int, ...]"

MAX_DEPTH = 100
_MAX_INT_BITS = (
    14_000  # Python refuses to print longer ones: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits
)
_MOST_CHARACTERS = 1000
_MOST_SIGNS = 40
_WIDEST = 12  # bytes of one character, as an escape
_ADDRESS = lazily(r" at 0x[0-9a-fA-F]{6,}")
_PLAIN = frozenset({float, bool, type(None)})
_KEYS = {None: "null", True: "true", False: "false"}


class Plain:
    """One conversion; of all that it could keep in part or as text only, it notes where that is.

    Attributes:
        notes: What became of it, by place.
        most_bytes: How large the data is as YAML, with the widest form of every character.
    """

    def __init__(self) -> None:
        self.notes: dict[Path, str] = {}
        self.most_bytes = 0

    def of(self, value: Any, path: Path = (), parents: tuple[int, ...] = ()) -> Any:
        """Return a copy of a value in exact types: str, int, float, bool, None, and lists, tuples and dicts of these.

        Args:
            value: Anything.
            path: Where it stands.
            parents: What it stands in, by `id`.
        """
        if type(value) in _PLAIN:
            self.most_bytes += _MOST_SIGNS + 4 * len(path)
            return value
        try:
            return self._of(value, path, parents)
        except Exception:  # noqa: BLE001 - code of any library, run by `isinstance` already
            return self._noted(described(value), path, f"is of type {_type_of(value)}")

    def _of(self, value: Any, path: Path, parents: tuple[int, ...]) -> Any:
        self.most_bytes += _MOST_SIGNS + 4 * len(path)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(str.__str__(value), path)
        if isinstance(value, int):
            return self._int(int.__int__(value), path)
        if isinstance(value, float):
            return float.__float__(value)
        if id(value) in parents:
            return self._noted("... (contains itself)", path, "contains itself")
        if len(parents) >= MAX_DEPTH:
            return self._noted(described(value), path, f"is nested more than {MAX_DEPTH} deep")
        parents = (*parents, id(value))
        if type(value) is dict:
            return self._mapping(value, path, parents)
        if isinstance(value, (list, tuple)):
            elements = [self.of(element, (*path, index), parents) for index, element in enumerate(value)]
            return tuple(elements) if isinstance(value, tuple) else elements
        from t9k.em.forms import NONE, form_of  # noqa: PLC0415 - most hyperparameters are plain already

        form = form_of(value)
        if form is NONE:
            return self._noted(described(value), path, f"is of type {_type_of(value)}")
        return self.of(form, path, parents)

    def _mapping(self, given: dict[Any, Any], path: Path, parents: tuple[int, ...]) -> dict[str, Any]:
        """Return the mapping with each key as a str; of two keys that become equal, the one that was no str gets its type beside it."""
        plain: dict[str, Any] = {}
        own = {key for key in list(given) if isinstance(key, str)}
        for key, value in list(given.items()):
            name = self.key(key, path)
            if (not isinstance(key, str) and name in own) or name in plain:
                other, name = name, f"{name} ({type(key).__name__})"
                while name in plain or name in own:
                    name += "'"
                self._noted(None, (*path, name), f"has another key {other!r} beside it")
            plain[name] = self.of(value, (*path, name), parents)
        return plain

    def key(self, key: Any, path: Path = ()) -> str:
        """Return the str that stands for a key, as JSON writes it where JSON knows it.

        Args:
            key: Anything that can be a key.
            path: Of the mapping.
        """
        if isinstance(key, str):
            return self._text(str.__str__(key), path)
        if key is None or isinstance(key, bool):
            return _KEYS[key]
        form = self.of(key, path)
        return form if isinstance(form, str) else repr(form)

    def _text(self, text: str, path: Path) -> str:
        self.most_bytes += _WIDEST * len(text)
        try:
            text.encode()
        except UnicodeEncodeError:
            escaped = text.encode(errors="backslashreplace").decode()
            return str(self._noted(escaped, path, "holds lone surrogates"))
        return text

    def _int(self, value: int, path: Path) -> Any:
        if value.bit_length() > _MAX_INT_BITS:
            bits = f"an int of {value.bit_length()} bits"
            return self._noted(bits, path, f"is {bits}")
        self.most_bytes += value.bit_length() // 3
        return value

    def _noted(self, kept: Any, path: Path, note: str) -> Any:
        self.notes[path] = note
        return kept


def described(value: Any) -> str:
    """Return the `repr` of anything, no longer than a screen, and without addresses, which differ from run to run."""
    try:
        text = _ADDRESS.sub("", repr(value))
        text.encode()
    except Exception as error:  # noqa: BLE001 - code of any library
        text = f"<{_type_of(value)}, whose repr fails with {type(error).__name__}>"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}... ({len(text)} characters)"


def _type_of(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def mapping_form(value: Any) -> Mapping[Any, Any] | None:
    """Return the mapping that something is or stands for: a config, a namespace, pairs; None for anything else.

    Args:
        value: Anything that may hold all hyperparameters.
    """
    if type(value) is dict:
        return value
    from t9k.em.forms import NONE, form_of  # noqa: PLC0415 - most hyperparameters are a dict

    form = value if isinstance(value, (list, tuple)) else form_of(value)
    if isinstance(form, Mapping):
        return form
    try:
        if isinstance(form, (list, tuple)):
            return None if any(isinstance(pair, str) for pair in form) else dict(form)
        if isinstance(value, type):
            named = {name: getattr(value, name) for name in dir(value) if not name.startswith("_")}
            return {name: part for name, part in named.items() if not callable(part)} or None
        if callable(getattr(type(value), "keys", None)):
            return {key: value[key] for key in value.keys()}  # noqa: SIM118 - it has no other method of a dict
        if form is NONE:
            return {name: part for name, part in vars(value).items() if not name.startswith("_")} or None
    except Exception:  # noqa: BLE001 - code of any library
        return None
    return None
