"""The hyperparameters of a run, as a dict with attribute access."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any

from t9k.em.errors import InvalidHparams
from t9k.em.fitting import fitted
from t9k.em.plain import Path, Plain, mapping_form
from t9k.em.threeway import same
from t9k.em.warn import outside, warn_incomplete

__all__ = ["Params"]

MAX_BYTES = 8 << 20
"""Of all hyperparameters in their file, which a reader takes up to 10 MiB."""

_MOST_TOLD = 3


class _State:
    """What the parameters and all views of their nested dicts share."""

    def __init__(self, upload: Callable[[dict[str, Any]], object], data: dict[str, Any]) -> None:
        self.upload = upload
        self.data = data
        self.lock = threading.RLock()
        self._told: set[str] = set()

    def tell(self, notes: Mapping[Path, str]) -> None:
        """Warn of what is not kept as it was given, once for each place."""
        new = [f"{_where(path)} {note}" for path, note in notes.items()]
        new = [text for text in new if text not in self._told]
        if not new:
            return
        self._told.update(new)
        more = f", and {len(new) - _MOST_TOLD} more" if len(new) > _MOST_TOLD else ""
        warn_incomplete(
            f"{', '.join(new[:_MOST_TOLD])}{more}: kept as text or in part; to choose what is kept, pass str, int, float, "
            "bool, None, or lists and dicts of these",
            outside(),
        )


class Params(MutableMapping[str, Any]):
    """Hyperparameters of a run; items of a dict, and attributes of an object too.

    Values are str, int, float (NaN and infinities too), bool and None, lists, tuples and dicts of these. Others become such a
    value where they have an obvious one: numbers, arrays and tensors (large ones a short description), dtypes and devices,
    paths, enums, dates, sets, classes and functions (their names), dataclasses, namespaces, configs of OmegaConf, Hugging
    Face, pydantic and attrs, estimators of scikit-learn (their parameters and their class). What has none is kept as its
    `repr`, shortened, with a warning: no hyperparameter stops a training. A key that is no str becomes one, as in JSON.

    Dicts and lists are copied when they come in. A nested dict comes
    back as a view that is a `Params` too, so a change in it counts as a change of the whole; a list comes back as the
    very list that is kept, so what is done to it shows in `as_dict`, but only the next change uploads it.
    `as_dict`, and so the file, holds 8 MiB at most: what takes most of it is cut there, with a warning.

    A parameter whose name is that of a method or starts with '_' is an item only, never an attribute. Safe to use from
    several threads: changes and the uploads that follow them happen one at a time. A pickled or copied `Params` is
    complete, but its changes are not uploaded.

    Examples:
        >>> uploaded = []
        >>> params = Params(upload=uploaded.append)
        >>> params.update({"batch_size": 32, "opt": {"lr": 0.1}})
        >>> params.opt.lr = 0.01
        >>> params.update(epochs=10)
        >>> uploaded[-1]
        {'batch_size': 32, 'opt': {'lr': 0.01}, 'epochs': 10}

    Args:
        upload: Called with `as_dict()` of all parameters after every change, once for each call that changes something,
            in the thread that made the change and before any other change. What it raises reaches the caller of the
            change, which stays made. Not called for `init_hparams`.
        init_hparams: Initial hyperparameters: a dict, or anything that has the form of one.

    Raises:
        InvalidHparams: `init_hparams` is no dict, and nothing that has the form of one.
    """

    __slots__ = ("_path", "_state")

    _path: tuple[str, ...]
    _state: _State

    def __init__(self, upload: Callable[[dict[str, Any]], object], init_hparams: object = None) -> None:
        plain = Plain()
        data = {} if init_hparams is None else plain.of(dict(_mapping(init_hparams, ())))
        self._bind(_State(upload, data), ())
        self._state.tell(plain.notes)

    def _bind(self, state: _State, path: tuple[str, ...]) -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_path", path)

    def _view(self, key: str) -> Params:
        view = type(self).__new__(type(self))
        view._bind(self._state, (*self._path, key))  # noqa: SLF001 - of this class
        return view

    def _dict(self) -> dict[str, Any]:
        """Return the kept dict that this is a view of; to be called with the lock held."""
        node: Any = self._state.data
        for position, key in enumerate(self._path):
            node = node.get(key)
            if not isinstance(node, dict):
                gone = _where(self._path[: position + 1])
                message = f"{gone} is no dict of hyperparameters any more; get it from the run again"
                raise KeyError(message)
        kept: dict[str, Any] = node
        return kept

    def _changed(self) -> None:
        self._state.upload(self._copied(self._state.data))

    def _copied(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return a copy with lists for tuples, converted again, for lists may have been changed in place, and not too large."""
        plain = Plain()
        copied: dict[str, Any] = _listed(plain.of(kept))
        if plain.most_bytes > MAX_BYTES:
            copied = fitted(copied, MAX_BYTES, plain.notes)
        self._state.tell(plain.notes)
        return copied

    def __getitem__(self, key: str) -> Any:
        """Return a value; a nested dict as a view, a list as the one that is kept."""
        key = _name(key)
        with self._state.lock:
            value = self._dict()[key]
        return self._view(key) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value and upload.

        Args:
            key: Name of the hyperparameter.
            value: Its value.
        """
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        """Remove a hyperparameter and upload.

        Raises:
            KeyError: No entry has that name.
        """
        with self._state.lock:
            del self._dict()[_name(key)]
            self._changed()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that there are now; changes meanwhile do not disturb."""
        with self._state.lock:
            return iter(list(self._dict()))

    def __len__(self) -> int:
        """Return the number of hyperparameters, nested ones not counted."""
        with self._state.lock:
            return len(self._dict())

    def __getattr__(self, name: str) -> Any:
        """Return the value of the hyperparameter of that name."""
        if not name.startswith("_"):
            try:
                return self[name]
            except KeyError:
                pass
        raise self._no_attribute(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the hyperparameter of that name and upload."""
        self._check_attribute(name)
        self[name] = value

    def __delattr__(self, name: str) -> None:
        """Remove the hyperparameter of that name and upload."""
        self._check_attribute(name)
        try:
            del self[name]
        except KeyError:
            raise self._no_attribute(name) from None

    def _check_attribute(self, name: str) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            why = "starts with '_'" if name.startswith("_") else "is the name of a method"
            message = f"{name!r} {why}, so it cannot be an attribute; write [{name!r}] instead of .{name}"
            raise AttributeError(message)

    def _no_attribute(self, name: str) -> AttributeError:
        if name.startswith("_"):
            message = f"{name!r} starts with '_', so it cannot be an attribute; write [{name!r}] instead of .{name}"
        else:
            import difflib  # noqa: PLC0415 - costs every importer otherwise, and errors are rare

            close = difflib.get_close_matches(name, dir(self), n=1)
            message = f"there is no hyperparameter {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        return AttributeError(message, name=name, obj=self)

    def __dir__(self) -> Iterable[str]:
        """Return the names of methods and of hyperparameters that are attributes."""
        with contextlib.suppress(KeyError):  # a view of what is gone
            return [*super().__dir__(), *(key for key in self if key.isidentifier() and not key.startswith("_"))]
        return super().__dir__()

    def __eq__(self, other: object) -> bool:
        """Compare with any mapping; a tuple equals a list of the same values."""
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self.as_dict() == (
                other.as_dict() if isinstance(other, Params) else _listed(Plain().of(dict(other)))
            )
        except KeyError:  # a view of what is gone
            return False

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        """Return the hyperparameters as Python shows a dict."""
        with self._state.lock:
            try:
                return f"{type(self).__name__}({self._dict()!r})"
            except KeyError as error:
                return f"<{type(self).__name__}: {error.args[0]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the values only; the copy uploads nothing."""
        return type(self), (upload_nothing, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Return all hyperparameters as plain dicts and lists.

        Returns:
            A new dict, of which nothing is shared; tuples are lists in it.
        """
        with self._state.lock:
            return self._copied(self._dict())

    def update(  # type: ignore[override]  # the reference narrows dict.update to one dict
        self,
        new_params: object = None,
        override: bool = True,
        **more: Any,
    ) -> None:
        """Set several hyperparameters, then upload once.

        Args:
            new_params: Name -> value, as a dict, as pairs, or as anything that has the form of a dict; see `Params`.
            override: Whether a value that is set already is replaced. If False it stays, and a nested dict gets what it
                lacks, in the same way.
            more: Values by name, `update(lr=0.1)`; they count after those of `new_params`.

        Raises:
            InvalidHparams: `new_params` is nothing of this kind; nothing was changed.
        """
        plain = Plain()
        given = {} if new_params is None and more else _mapping(new_params, self._path)
        new = plain.of({**given, **more}, self._path)
        with self._state.lock:
            kept = self._dict()
            if override:
                kept.update(new)
                changed = bool(new)
            else:
                changed = _fill(kept, new)
            self._state.tell(plain.notes)
            if changed:
                self._changed()

    def parse(
        self,
        dist_tf_strategy: Any = None,
        dist_torch_model: Any = None,
        dist_hvd: Any = None,
    ) -> None:
        """Record how training is distributed, as the hyperparameter `dist`; see `t9k.em.frameworks` for what it holds.

        Args:
            dist_tf_strategy: Strategy of `tf.distribute`.
            dist_torch_model: PyTorch model wrapped in `DataParallel` or `DistributedDataParallel`.
            dist_hvd: Module of Horovod, such as `horovod.torch`, after `init()`.

        Raises:
            InvalidInput: An argument is no mapping, or several are given; nothing was changed.
        """
        from t9k.em.frameworks import parse_distribution  # noqa: PLC0415 - rarely needed

        found = parse_distribution(dist_tf_strategy, dist_torch_model, dist_hvd)
        if found is not None:
            self.update({"dist": found})

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a hyperparameter, upload, and return its value.

        Args:
            key: Name of the hyperparameter.
            *default: Returned if no hyperparameter has that name.

        Returns:
            The value; a nested dict as a plain dict.

        Raises:
            KeyError: No entry has that name, and no default is given.
        """
        with self._state.lock:
            kept, key = self._dict(), _name(key)
            if key not in kept and default:
                return default[0]
            value = kept.pop(key)
            self._changed()
            return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the hyperparameter that was added last, upload, and return its name and value.

        Raises:
            KeyError: The mapping is empty.
        """
        with self._state.lock:
            item = self._dict().popitem()
            self._changed()
            return item

    def clear(self) -> None:
        """Remove all hyperparameters, then upload once."""
        with self._state.lock:
            kept = self._dict()
            if kept:
                kept.clear()
                self._changed()


def held(params: Params) -> AbstractContextManager[object]:
    """Keep other threads from changing parameters and from calling their `upload`.

    Args:
        params: All of them, or nested ones.
    """
    return params._state.lock  # noqa: SLF001 - of this module


def upload_again(params: Params) -> None:
    """Call `upload` of parameters as after a change, for a list may have been changed in place.

    Args:
        params: All of them, no nested ones.
    """
    with params._state.lock:  # noqa: SLF001 - of this module
        params._changed()  # noqa: SLF001 - likewise


def take_over(params: Params, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Take over what others have changed in all parameters; `upload` is not called.

    Args:
        params: All of them, no nested ones.
        before: `as_dict()` of them.
        after: What they have become, plain values only. What is the same in both stays the very value that is kept.
    """
    with params._state.lock:  # noqa: SLF001 - of this module
        _take_over(params._state.data, before, after)  # noqa: SLF001 - likewise


def _take_over(kept: dict[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for key in before.keys() - after.keys():
        kept.pop(key, None)
    for key, value in after.items():
        old = before.get(key)
        if key in before and same(old, value):
            continue
        if isinstance(old, dict) and isinstance(value, dict) and isinstance(kept.get(key), dict):
            _take_over(kept[key], old, value)
        else:
            kept[key] = value


def upload_nothing(_: object) -> None:
    """Stand for `upload` in a copy."""


def _fill(kept: dict[str, Any], new: dict[str, Any]) -> bool:
    """Add what is missing; tell whether anything was."""
    changed = False
    for key, value in new.items():
        if key not in kept:
            kept[key] = value
            changed = True
        elif isinstance(kept[key], dict) and isinstance(value, dict):
            changed = _fill(kept[key], value) or changed
    return changed


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(element) for key, element in list(value.items())}
    if isinstance(value, (list, tuple)):
        return [_listed(element) for element in value]
    return value


def _mapping(params: object, path: Path) -> Mapping[Any, Any]:
    mapping = mapping_form(params)
    if mapping is None:
        raise InvalidHparams(
            f"{_where(path)} must be a dict, or a config that has a form as a dict, not {type(params).__name__}; "
            "write {'lr': 0.1}"
        )
    return mapping


def _name(key: object) -> str:
    """Return the name of a hyperparameter, as it is kept."""
    return key if type(key) is str else Plain().key(key)


def _where(path: Path) -> str:
    return "hparams" + "".join(f"[{part!r}]" for part in path)
