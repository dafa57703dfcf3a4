"""The plain form of objects of other libraries: what of a config, an array or an estimator a file can keep.

No library is imported for that: an object is told by its class, or by what the modules that are loaded already say.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import math
import numbers
import os
import re
import sys
import types
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from t9k.em.scalars import is_masked, is_moment, unwrap

MOST_ELEMENTS = 100
"""Of an array or tensor that is kept as a list; a larger one is described."""

_MOST_BYTES = 64

NONE = object()
"""There is no plain form."""


def form_of(value: Any) -> Any:
    """Return what stands for an object: plain data, or mappings and sequences of objects that have forms themselves.

    Args:
        value: No str, int, float, bool, None, list, tuple or dict.

    Returns:
        The form, or `NONE`.
    """
    for form in _FORMS:
        try:
            found = form(value)
        except Exception:  # noqa: BLE001, S112 - code of any library: what fails is no form, and the next one is tried
            continue
        if found is not NONE:
            return found
    return NONE


def name_of(value: Any) -> str:
    """Return the name of a class or function, with its module unless it is a builtin."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else str(name)


def _loaded(module: str, *names: str) -> tuple[type[Any], ...]:
    """Classes of a library, if it is loaded."""
    found = [getattr(sys.modules.get(module), name, None) for name in names]
    return tuple(cls for cls in found if isinstance(cls, type))


def _method(value: Any, name: str) -> Callable[..., Any] | None:
    """Return a method of its class: an attribute that an instance makes up for any name does not count."""
    return getattr(value, name) if callable(getattr(type(value), name, None)) else None


def _omegaconf(value: Any) -> Any:
    if not isinstance(value, _loaded("omegaconf", "DictConfig", "ListConfig")):
        return NONE
    convert = sys.modules["omegaconf"].OmegaConf.to_container
    try:
        return convert(value, resolve=True)
    except Exception:  # noqa: BLE001 - an interpolation that leads nowhere, by any resolver: kept as it is written
        return convert(value, resolve=False)


def _class_or_function(value: Any) -> Any:
    if isinstance(value, functools.partial):
        named = {str(position): argument for position, argument in enumerate(value.args)} | value.keywords
        return {"function": value.func, **named}
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, type) or (callable(value) and isinstance(getattr(value, "__qualname__", None), str)):
        return name_of(value)
    return NONE


def _standard_library(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name or NONE
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (dt.timedelta, uuid.UUID, range)):
        return str(value)
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _of_bytes(bytes(value))
    if isinstance(value, (types.SimpleNamespace, *_loaded("argparse", "Namespace"))):
        return dict(vars(value))
    return NONE


def _of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex() if len(value) <= _MOST_BYTES else f"{len(value)} bytes"


def _kind_of_number(value: Any) -> Any:
    """Return the name of a dtype or device."""
    if isinstance(value, (*_loaded("numpy", "dtype"), *_loaded("torch", "dtype", "device", "layout", "memory_format"))):
        return str(value)
    return value.name if isinstance(value, _loaded("tensorflow", "DType")) else NONE


def _number(value: Any) -> Any:
    """Return a number of another class, or the number in an array or tensor."""
    if isinstance(value, _loaded("numpy", "datetime64", "timedelta64")):
        return str(value)
    if is_masked(value):
        return NONE if value.size > 1 else None
    others: tuple[type[Any], ...] = (*_loaded("decimal", "Decimal"), *_loaded("fractions", "Fraction"))
    if isinstance(value, others):
        return float(value)
    number = unwrap(value)
    if isinstance(number, complex):
        return str(number)
    if isinstance(number, (bool, int, float, str, bytes)):
        return number
    return float(number) if isinstance(number, numbers.Real) else NONE  # that of a longdouble


def _array(value: Any) -> Any:
    kinds: tuple[type, ...] = (tuple, *_loaded("tensorflow", "TensorShape"))
    if isinstance(value, type) or not isinstance(getattr(value, "shape", None), kinds):
        return NONE
    sizes = tuple(value.shape)
    kind = getattr(value, "dtype", None)
    try:
        if math.prod(sizes) <= MOST_ELEMENTS:
            array = value if _method(value, "tolist") else value.numpy()
            return array.astype(str).tolist() if is_moment(array) else array.tolist()
    except Exception:  # noqa: BLE001, S110 - one that is sparse, not computed, or of unknown shape: it is described
        pass
    text = f"{type(value).__name__} of shape {sizes}"
    return text if kind is None else f"{text}, {getattr(kind, 'name', kind)}"


def _config(value: Any) -> Any:
    """Config of a library, that tells itself what it holds."""
    if isinstance(value, type):
        return NONE
    for name in ("model_dump", "to_dict", "flag_values_dict"):  # pydantic; transformers, ml_collections and more; absl
        dump = _method(value, name)
        if dump is not None:
            found = dump()
            if isinstance(found, Mapping):
                return dict(found)
    if isinstance(getattr(type(value), "__fields__", None), Mapping) and _method(value, "dict"):  # pydantic 1
        return dict(value.dict())
    fields: Any = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        fields = [attribute.name for attribute in getattr(type(value), "__attrs_attrs__", ())]
        if not hasattr(type(value), "__attrs_attrs__"):
            return NONE
    return {name: getattr(value, name) for name in fields if hasattr(value, name)}


def _estimator(value: Any) -> Any:
    get_params = _method(value, "get_params")
    if get_params is None:
        return NONE
    return {"class": name_of(type(value)), **get_params(deep=False)}


def _mapping(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else NONE


def _sequence(value: Any) -> Any:
    if isinstance(value, AbstractSet):
        try:
            return sorted(value)
        except Exception:  # noqa: BLE001 - elements that have no order among themselves
            return sorted(value, key=repr)
    return list(value) if isinstance(value, Sequence) else NONE


_FORMS: tuple[Callable[[Any], Any], ...] = (
    _omegaconf,
    _mapping,
    _class_or_function,
    _standard_library,
    _kind_of_number,
    _number,
    _array,
    _config,
    _estimator,
    _sequence,
)
