"""The T9k config file: where it is, what it says, and how a login is written into it.

```yaml
current-context: default-context
contexts:
- name: default-context
  server: https://host
  prefixes:
    aistore: /t9k/aistore/server      # aistore_host = server + prefix
    asset-hub: /t9k/asset-hub/server  # asset_hub_host = server + prefix
  auth:
    apikey: <uuid>                    # api_key; the key may also be spelled api_key
  store: <id>                         # of the mark of the store that was there at the login
```

A `server` that is not an HTTP URL (`file:///data/em`, `s3://bucket/root`) is itself the aistore_host; such places have
no Asset Hub.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t9k.em.errors import InvalidConfig

__all__ = ["config_path", "has_config_path", "read_settings", "remove_login", "save_login", "saved_store"]

_API_KEY_SPELLINGS = ("apikey", "api_key")
_DEFAULT_CONTEXT = "default-context"
_STORE = "store"
_PLAIN = "?insecure=true"
"""Of a server without TLS that somebody trusts the network to; it stands behind the prefix of aistore."""

_HTTP_URL = re.compile(r"(?P<server>https?://[^/?#]*)(?P<prefix>.*)", re.IGNORECASE | re.DOTALL)


def has_config_path() -> bool:
    """Return whether there can be a config file: a user without a home, as in many a container, has none."""
    return bool(os.environ.get("T9K_CONFIG")) or not os.path.expanduser("~/").startswith("~")  # noqa: PTH111 - Path's raises


def config_path() -> Path:
    """Return the path of the T9k config file, whether or not it exists.

    Raises:
        InvalidConfig: The home directory is not known, and `T9K_CONFIG` is not set.
    """
    named = os.environ.get("T9K_CONFIG")
    path = os.path.expanduser(named or "~/.t9k/t9k-config.yaml")  # noqa: PTH111 - Path's raises RuntimeError
    if path.startswith("~"):
        raise _invalid(f"the home directory in {path} is not known; set T9K_CONFIG to the path of the config file")
    return Path(path)


def save_login(
    aistore_host: str, api_key: str | None = None, *, store: str = "", path: str | os.PathLike[str] | None = None
) -> Path:
    """Write where the data is kept, and the API key for it, into the current context of the config file.

    All else in the file stays as it is: other contexts and keys, comments, order, quotes and blank lines (comments do not
    where aliases or merge keys share what changes). The file is replaced as a whole, so that a reader or a crash never
    meets half of it; its mode becomes 0600, and a directory that has to be made gets 0700. Where another process saves at
    the same moment, one of the two wins. `CONFIG` does not change; see `Config.reload`.

    Args:
        aistore_host: URL of an AIStore server, URI such as `file:///data/em` or `s3://bucket/root`, or a local path,
            which is saved as an absolute one.
        api_key: API key for it. None removes the saved one, which belongs to the host that was saved with it.
        store: Id of the store that is there, see `t9k.em.backend.MarksStore`; '' where none is known.
        path: File to write; by default the one that `config_path` names.

    Returns:
        The path that was written.

    Raises:
        InvalidURI: `aistore_host` cannot be saved; nothing was written.
        SecretInURI: `aistore_host` holds credentials; nothing was written.
        InvalidConfig: The file cannot be understood, or `api_key` is no API key; nothing was written.
        LocalError: The file cannot be written.
    """
    aistore_host = _checked_host(aistore_host)
    _check_api_key(api_key)
    target = config_path() if path is None else Path(path)
    data = _load(target)
    context = dict(_current_context(target, data, to_save=True) or {})
    server, prefix = _split(aistore_host, _text(target, context, "server"))
    context["server"] = server
    context["prefixes"] = {**_mapping(target, context, "prefixes"), "aistore": prefix}
    _set_api_key(context, dict(_mapping(target, context, "auth")), api_key)
    context.pop(_STORE, None)
    if store:
        context[_STORE] = store
    _dump(target, _with_context(data, context))
    return target


def remove_login(*, path: str | os.PathLike[str] | None = None) -> bool:
    """Remove the login from the current context of the config file.

    The API key goes. The URL of a server stays, so that logging in again needs the key only; any other URI needs no
    key, is the login itself, and goes. Everything else stays, as for `save_login`.

    Args:
        path: File to change; by default the one that `config_path` names.

    Returns:
        Whether there was a login.

    Raises:
        InvalidConfig: The file cannot be understood; nothing was written.
        LocalError: The file cannot be written.
    """
    target = config_path() if path is None else Path(path)
    data = _load(target)
    found = _current_context(target, data)
    if found is None:
        return False
    context = dict(found)
    auth = dict(_mapping(target, context, "auth"))
    server = _text(target, context, "server")
    is_login = server is not None and not _HTTP_URL.fullmatch(server)
    if not is_login and not any(key in auth for key in _API_KEY_SPELLINGS):
        return False
    if is_login:
        del context["server"]
        prefixes = dict(_mapping(target, context, "prefixes"))
        prefixes.pop("aistore", None)
        context["prefixes"] = prefixes
    _set_api_key(context, auth, None)
    context.pop(_STORE, None)
    _dump(target, _with_context(data, context))
    return True


def read_settings(path: Path) -> dict[str, str | None]:
    """Read what the current context of a config file says.

    Args:
        path: The file; a missing one says nothing.

    Returns:
        aistore_host, asset_hub_host and api_key, each None where the file lacks it.

    Raises:
        InvalidConfig: The file cannot be read or understood. The message never quotes it.
    """
    context = _current_context(path, _load(path)) or {}
    prefixes, auth = _mapping(path, context, "prefixes"), _mapping(path, context, "auth")
    server = _text(path, context, "server")
    aistore, asset_hub = _text(path, prefixes, "aistore"), _text(path, prefixes, "asset-hub")
    if server and not _HTTP_URL.fullmatch(server):
        aistore, asset_hub = aistore or "", None
    keys = (_text(path, auth, spelling) for spelling in _API_KEY_SPELLINGS)
    return {
        "aistore_host": _join(server, aistore),
        "asset_hub_host": _join(server, asset_hub),
        "api_key": next((key for key in keys if key), None),
    }


def saved_store(host: str) -> str:
    """Return the id of the store that was at a place when it was logged in to.

    Args:
        host: URI or local path; that of another place than the one that the config file names has no id.

    Returns:
        The id; '' where none is known, or the config file cannot be used.
    """
    from t9k.em.errors import InvalidConfig  # noqa: PLC0415 - t9k.em imports this module
    from t9k.em.uris import is_same_root  # noqa: PLC0415 - likewise

    path = config_path() if has_config_path() else None
    if path is None or not path.is_file():  # YAML takes a while to load
        return ""
    try:
        settings = read_settings(path)
        if not is_same_root(host, settings["aistore_host"]):
            return ""
        return _text(path, _current_context(path, _load(path)) or {}, _STORE) or ""
    except InvalidConfig:  # told where something of it is needed
        return ""


def _split(host: str, old_server: str | None) -> tuple[str, str]:
    """Split an aistore_host into server and prefix; a server that it lies under stays, as the Asset Hub does too."""
    url = _HTTP_URL.fullmatch(host)
    if url is None:
        return host, ""
    if old_server and _HTTP_URL.fullmatch(old_server) and host.startswith(old_server.rstrip("/") + "/"):
        return old_server, host[len(old_server.rstrip("/")) :]
    return url["server"], url["prefix"]


def _join(server: str | None, prefix: str | None) -> str | None:
    if not server or prefix is None:
        return None
    if not prefix:
        return server
    return server.rstrip("/") + (prefix if prefix.startswith("/") else f"/{prefix}")


def _load(path: Path) -> dict[Any, Any]:
    """Read the file; {} if it does not exist."""
    import yaml  # noqa: PLC0415 - costs every importer of t9k otherwise

    # Raised outside the except clauses: the context of these errors shows lines of the file, and so the key.
    try:
        data = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); make it a file that you may read"
    except yaml.MarkedYAMLError as error:
        at = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = f"is not valid YAML{at}; fix or delete it and log in again"
    except (yaml.YAMLError, ValueError, RecursionError):
        problem = "is not valid YAML; fix or delete it and log in again"
    else:
        if data is None:
            return {}
        if isinstance(data, dict):
            return data
        problem = "must be a mapping with the keys current-context and contexts; fix or delete it and log in again"
    raise _invalid(f"T9k config file {path} {problem}")


def _current_context(path: Path, data: dict[Any, Any], *, to_save: bool = False) -> dict[Any, Any] | None:
    """Find the current context, or else (to save) the one to make current; None if there is no such."""
    contexts = data.get("contexts")
    if contexts is None:
        contexts = []
    if not isinstance(contexts, list) or not all(isinstance(context, dict) for context in contexts):
        raise _invalid(f"'contexts' in T9k config file {path} must be a list of mappings; fix it")
    name = data.get("current-context")
    if name is None and not to_save:
        return None
    name = _DEFAULT_CONTEXT if name is None else name
    for context in contexts:
        if context.get("name") == name:
            found: dict[Any, Any] = context
            return found
    if contexts and not to_save:
        raise _invalid(
            f"'current-context' in T9k config file {path} names {name!r}, which 'contexts' lacks;"
            f" make it one of {[context.get('name') for context in contexts]}, or log in again"
        )
    return None


def _with_context(data: dict[Any, Any], context: dict[Any, Any]) -> dict[Any, Any]:
    """Return the file's data with its current context replaced or added; shared (YAML alias) parts are not touched."""
    name = data.get("current-context")
    name = _DEFAULT_CONTEXT if name is None else name
    contexts = data.get("contexts") or []
    changed = [context if known.get("name") == name else known for known in contexts]
    if all(known is not context for known in changed):
        changed.append({"name": name, **context})
    return {**data, "current-context": name, "contexts": changed}


def _mapping(path: Path, parent: dict[Any, Any], key: str) -> dict[Any, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f"{key!r} of the current context in T9k config file {path} must be a mapping; fix it")
    return value


def _text(path: Path, parent: dict[Any, Any], key: str) -> str | None:
    value = parent.get(key)
    if value is not None and not isinstance(value, str):
        raise _invalid(f"{key!r} of the current context in T9k config file {path} must be a string; put it in quotes")
    return value


def _set_api_key(context: dict[Any, Any], auth: dict[Any, Any], api_key: str | None) -> None:
    spelling = next((key for key in _API_KEY_SPELLINGS if key in auth), _API_KEY_SPELLINGS[0])
    for key in _API_KEY_SPELLINGS:
        auth.pop(key, None)
    if api_key is not None:
        auth[spelling] = api_key
    context["auth"] = auth


def _dump(path: Path, data: dict[Any, Any]) -> None:
    """Replace the file, through a link if it is one."""
    from t9k.em.local.files import replacing, write_all  # noqa: PLC0415 - t9k.em imports this module
    from t9k.yaml_editing import edit  # noqa: PLC0415 - costs every importer of t9k otherwise

    target = path.resolve()
    try:
        text = edit(target.read_bytes() if target.exists() else b"", data)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(target) as fd:
            write_all(fd, text.encode())
    except OSError as error:
        from t9k.em.errors import LocalError  # noqa: PLC0415 - t9k.em imports this module

        message = f"T9k config file {path} cannot be written ({error.strerror}); make its directory writable"
        raise LocalError(message) from error


def _checked_host(host: Any) -> str:
    from t9k.em.errors import InvalidURI  # noqa: PLC0415 - t9k.em imports this module
    from t9k.em.uris import is_uri, parse  # noqa: PLC0415 - t9k.em imports this module

    if not isinstance(host, str) or not host.isprintable() or host != host.strip():
        message = "aistore_host must be a URL such as https://host/t9k/aistore/server or a URI such as file:///data/em"
        raise InvalidURI(message)
    uri = parse(host)
    if not is_uri(host):
        return str(Path(os.path.expanduser(host)).absolute())  # noqa: PTH111 - Path's raises where nobody has a home
    if uri.scheme in ("http", "https") and ("#" in host or not ("?" not in host or host.endswith(_PLAIN))):
        message = f"aistore_host must have no '?' or '#' where it is the URL of a server, but for {_PLAIN!r}"
        raise InvalidURI(message)
    return host


def _check_api_key(api_key: Any) -> None:
    if api_key is None:
        return
    # It travels in an HTTP header.
    if (
        not isinstance(api_key, str)
        or not api_key.isascii()
        or not api_key.isprintable()
        or api_key.split() != [api_key]
    ):
        message = "the API key must be ASCII text without spaces; copy it from your account, or pass None"
        raise _invalid(message)


def _invalid(message: str) -> InvalidConfig:
    from t9k.em.errors import InvalidConfig  # noqa: PLC0415 - t9k.em imports this module

    return InvalidConfig(message)
