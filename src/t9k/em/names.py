"""Names of nodes, keys of objects and paths of folders: what is allowed, and their one canonical form.

Names and keys have to mean the same on every store and every system, so the rules of POSIX and Windows hold
everywhere: https://learn.microsoft.com/windows/win32/fileio/naming-a-file lists the latter.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import lru_cache
from urllib.parse import quote

from t9k.em.errors import InvalidKey, InvalidName, InvalidStrategy, KeyCollision
from t9k.em.typos import did_you_mean

__all__ = [
    "MAX_COMPONENT_BYTES",
    "MAX_KEY_BYTES",
    "MAX_PATH_DEPTH",
    "OP",
    "RESERVED",
    "STRATEGIES",
    "KeySet",
    "absolute",
    "alternative_name",
    "check_collisions",
    "check_depth",
    "check_key",
    "check_name",
    "check_path",
    "check_stored",
    "check_strategy",
    "encode_component",
    "fold",
    "is_name",
    "is_op",
    "is_within",
    "join",
    "new_op",
    "parent_and_name",
    "random_text",
    "split_version",
]

MAX_KEY_BYTES = 1024
MAX_COMPONENT_BYTES = 255
MAX_PATH_DEPTH = 64
"""Components of the path of a node that is made; deeper ones that are there can be read and deleted."""

RESERVED = ".em"
STRATEGIES = ("skip", "error", "new", "replace")

_DEVICES = frozenset(
    [
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³"),
    ]
)
OP = r"\d{8}T\d{6}\.\d{6}Z-[0-9a-z]{10}"
"""The form of an upload's id, as a regular expression."""

_OP = re.compile(OP)
_VERSION = re.compile(r"@(\d{1,8})$")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # the categories Cc and Cs of Unicode
_SIMPLE_KEY = re.compile(
    r"(?:(?!con|prn|aux|nul|com|lpt)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?:/(?=.)|$))+", re.ASCII | re.IGNORECASE
)
_DRIVE = re.compile(r"[A-Za-z]:")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_LONGEST_ENCODED = 200


@lru_cache(4096)  # directories come again with every file in them
def _flaw(component: str) -> str | None:
    """Return the flaw of one component of a path; None for a valid one."""
    if not component:
        return "is empty"
    if component in (".", ".."):
        return "is '.' or '..'"
    if "/" in component or "\\" in component:
        return "holds a slash or backslash"
    if _CONTROL.search(component):
        return "holds a control character or a lone surrogate"
    if component[-1] in ". ":
        return "ends with a dot or a space, which Windows drops"
    if component.partition(".")[0].rstrip(" ").casefold() in _DEVICES:
        return "is the name of a device on Windows"
    if len(component.encode()) > MAX_COMPONENT_BYTES:
        return f"is longer than {MAX_COMPONENT_BYTES} bytes of UTF-8"
    return None


def check_name(name: object, *, what: str = "name") -> str:
    r"""Return the name of a run, artifact or folder, if it can be one.

    Args:
        name: The name, one component of a path.
        what: How an error calls it.

    Raises:
        InvalidName: The name is not a str, empty, '.' or '..', holds '/', '\' or a control character, is longer than
            255 bytes of UTF-8, is reserved by a file system or by this library, or looks like a version ('x@3').
    """
    if not isinstance(name, str):
        raise InvalidName(f"{what} must be a str, not {type(name).__name__}")
    flaw = _name_flaw(name)
    if flaw is not None:
        raise InvalidName(f"{what} {name!r} {flaw}; choose another name")
    return name


def is_name(name: str) -> bool:
    """Return whether `check_name` would accept a text."""
    return _name_flaw(name) is None


@lru_cache(4096)  # folders come again with every node in them
def _name_flaw(name: str) -> str | None:
    flaw = _flaw(name)
    if flaw is not None:
        return flaw
    if name.casefold() == RESERVED:
        return "is reserved"
    if _DRIVE.match(name):
        return "starts like a drive of Windows"
    if _VERSION.search(name):
        return "ends like a version, '@' and digits"
    if is_op(name):
        return "has the form that this library gives to uploads"
    return None


def check_key(key: object) -> str:
    """Return the key of an object, if it can be one: components joined by '/', none of them special anywhere.

    Raises:
        InvalidKey: The key climbs out of its directory, is absolute, is not portable, or is reserved ('.em/...').
    """
    if not isinstance(key, str):
        raise InvalidKey(f"object key must be a str, not {type(key).__name__}")
    if len(key) <= MAX_COMPONENT_BYTES and _SIMPLE_KEY.fullmatch(key):
        return key  # as nearly all are, and there may be a million
    components = key.split("/")
    flaw = next(filter(None, map(_flaw, components)), None)
    if flaw is not None:
        flaw = f"has a component that {flaw}"
    elif ":" in key and any(map(_DRIVE.match, components)):
        flaw = "has a component that starts like a drive of Windows"
    elif components[0].casefold() == RESERVED:
        flaw = f"lies under {RESERVED!r}, which is reserved"
    elif len(key.encode()) > MAX_KEY_BYTES:
        flaw = f"is longer than {MAX_KEY_BYTES} bytes of UTF-8"
    if flaw is not None:
        raise InvalidKey(f"object key {key!r} {flaw}; use a relative path like 'weights/model.pt'")
    return key


def check_stored(key: str) -> str:
    """Return the key of an object in a store, if every store can have it: no component is empty, '.' or '..'.

    Raises:
        InvalidKey: The text is no key.
    """
    if "\0" in key or any(component in ("", ".", "..") for component in key.split("/")):
        raise InvalidKey(f"{key!r} is no key of an object")
    return key


def fold(name: str) -> str:
    """Return the form in which two names are compared: alike but for case or Unicode form means equal."""
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", folded)


class KeySet:
    """Keys of one node that every file system can keep apart.

    Args:
        keys: Those to begin with.

    Raises:
        KeyCollision: See `add`.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._files: dict[str, str] = {}
        self._directories: dict[str, str] = {}
        for key in keys:
            self.add(key)

    def add(self, key: str, *, again: bool = False) -> None:
        """Add a valid key.

        Args:
            key: The key.
            again: Whether it may be in the set already, in the same spelling.

        Raises:
            KeyCollision: The key differs from another only by case or Unicode form, is equal to one, or one of the two
                is a directory of the other. The set is as it was.
        """
        folded = fold(key)
        parents = self._new_parents(folded)
        other = self._files.get(folded)
        if other is not None and not (again and other == key):
            raise KeyCollision(f"objects {other!r} and {key!r} have the same key on some file systems; rename one")
        if folded in self._directories:
            raise KeyCollision(
                f"object {key!r} would have to be a directory for {self._directories[folded]!r}; rename one"
            )
        for parent in parents:
            if parent in self._files:
                raise KeyCollision(
                    f"object {self._files[parent]!r} would have to be a directory for {key!r}; rename one"
                )
        self._files[folded] = key
        for parent in parents:
            self._directories[parent] = key

    def _new_parents(self, folded: str) -> list[str]:
        """Return the directories of a key that hold no other; if one holds others, so do all above it."""
        parents = []
        at = folded.rfind("/")
        while at >= 0 and folded[:at] not in self._directories:
            parents.append(folded[:at])
            at = folded.rfind("/", 0, at)
        return parents


def check_collisions(keys: Iterable[str]) -> None:
    """Refuse keys that some file system cannot keep apart.

    Raises:
        KeyCollision: See `KeySet.add`.
    """
    KeySet(keys)


def encode_component(text: str) -> str:
    """Percent-encodes a text into one portable path component of at most 200 characters.

    A longer one is cut and ends with '%-' and the start of its SHA-256, which percent-encoding cannot yield.
    """
    encoded = quote(text, safe="")
    if len(encoded) <= _LONGEST_ENCODED:
        return encoded
    return f"{encoded[:160]}%-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def new_op(now: datetime | None = None) -> str:
    """Mints the id of one upload: UTC time with microseconds and 10 random characters; sorts by time.

    Args:
        now: The time to use, with a time zone; the system's clock by default.
    """
    moment = (now or datetime.now(timezone.utc)).astimezone(timezone.utc)
    return f"{moment:%Y%m%dT%H%M%S.%f}Z-{random_text(10)}"


def is_op(text: str) -> bool:
    """Return whether a text has the form of an upload's id."""
    return _OP.fullmatch(text) is not None


def random_text(length: int) -> str:
    """Random characters of a-z0-9, as many as asked for.

    They come from the system at once: each request lets other threads in, and holds up whoever logs meanwhile.
    """
    drawn = int.from_bytes(os.urandom(2 * length), "big")  # not by `secrets`, which is slow to import
    number = drawn % len(_ALPHABET) ** length
    found = []
    for _ in range(length):
        number, place = divmod(number, len(_ALPHABET))
        found.append(_ALPHABET[place])
    return "".join(found)


def alternative_name(name: str, now: datetime | None = None) -> str:
    """Make the name that is unique to one run or artifact: `<name>_<yymmdd>_<hhmmss>_<6 of a-z0-9>`, in local time.

    A name too long for the suffix is cut.
    """
    suffix = f"_{now or datetime.now().astimezone():%y%m%d_%H%M%S}_{random_text(6)}"
    room = MAX_COMPONENT_BYTES - len(suffix)
    return name.encode()[:room].decode(errors="ignore") + suffix


def check_strategy(strategy: str) -> str:
    """Return a conflict strategy, if it is one.

    Raises:
        InvalidStrategy: The strategy is not one of 'skip', 'error', 'new', 'replace'.
    """
    if strategy not in STRATEGIES:
        raise InvalidStrategy(
            f"conflict strategy {strategy!r} is unknown; use one of {', '.join(map(repr, STRATEGIES))}"
            f"{did_you_mean(strategy, STRATEGIES)}"
        )
    return strategy


def split_version(path: str) -> tuple[str, int | None]:
    """Split 'path@3' into the path and the generation; without '@3' the generation is None."""
    match = _VERSION.search(path)
    return (path, None) if match is None else (path[: match.start()], int(match[1]))


def check_path(path: str, *, version: bool = False) -> str:
    """Return the absolute path of a node, if it can be one.

    Args:
        path: '/' or names joined by '/', with a slash before the first and none after the last.
        version: Whether it may end with a generation: 'path@3'.

    Raises:
        InvalidName: The path is not absolute, or a component cannot be a name.
    """
    bare, generation = split_version(path)
    if generation is not None and not version:
        raise InvalidName(f"path {path!r} means one version of a node; give it without '@' and digits")
    if not bare.startswith("/"):
        raise InvalidName(f"path {path!r} must start with '/'")
    for component in bare[1:].split("/") if bare != "/" else ():
        if not is_name(component):  # what an error would say is as long as the path
            check_name(component, what=f"path {path!r}: component")
    return path


def check_depth(path: str) -> str:
    """Return the absolute path of a node that is to be made, if it is not too deep.

    Raises:
        InvalidName: The path has more than `MAX_PATH_DEPTH` components.
    """
    depth = path.count("/") if path != "/" else 0
    if depth > MAX_PATH_DEPTH:
        raise InvalidName(
            f"path {path[:100]!r}... has {depth} components, of at most {MAX_PATH_DEPTH}; use fewer folders within one another"
        )
    return path


def absolute(path: str, user: str) -> str:
    """Resolve the path of a node: relative ones lie under `/<user>/`; a slash at the end is dropped.

    Raises:
        InvalidName: A component of the path cannot be a name.
    """
    if path.endswith("/") and path != "/":
        path = path[:-1]
    if not path.startswith("/"):
        path = f"/{user}/{path}" if path else f"/{user}"
    bare, generation = split_version(check_path(path, version=True))
    if generation == 0:
        raise InvalidName(f"path {path!r} means no version: they begin with @1; {bare!r} is the newest one")
    return bare if generation is None else f"{bare}@{generation}"


def parent_and_name(path: str) -> tuple[str, str]:
    """Split an absolute path into its folder ('/' for a child of the root) and its last component."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def is_within(path: str, folder: str) -> bool:
    """Return whether an absolute path is a folder's, or lies below it."""
    return folder in ("/", path) or path.startswith(f"{folder}/")


def join(folder: str, name: str) -> str:
    """Return the path of a child of a folder."""
    return f"/{name}" if folder == "/" else f"{folder}/{name}"
