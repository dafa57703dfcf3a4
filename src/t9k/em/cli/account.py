"""`em login`, `em logout` and `em config`: the backend and the key in the T9k config file."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from t9k.config import CONFIG, config_path, remove_login, save_login
from t9k.config_file import saved_store
from t9k.em import session
from t9k.em.backend import MarksStore, TellsState
from t9k.em.cli import targets
from t9k.em.cli.app import explain
from t9k.em.cli.output import console, json_option, note, print_json, print_pairs, say, text
from t9k.em.cli.progress import waiting
from t9k.em.cli.text import clean
from t9k.em.errors import (
    BackendFull,
    BackendPermissionError,
    CorruptData,
    InvalidInput,
    InvalidURI,
    NewerStore,
    UnsafeStore,
)
from t9k.em.local import layout
from t9k.em.records import ARTIFACT, RUN
from t9k.em.uris import is_same_root, is_uri, parse

if TYPE_CHECKING:
    from t9k.em.backend import Backend

_SHOWN_OF_KEY = 4


@click.command(short_help="Choose the backend for paths without a URI.")
@click.argument("uri", required=False)
@click.option("--api-key", is_flag=True, help="Ask for an API key; where there is no terminal, read it from stdin.")
def login(uri: str | None, *, api_key: bool) -> None:
    """Choose the backend for paths without a URI, and keep it in the T9k config file.

    URI is for example file:///data/em, or https://host/t9k/aistore/server for an AIStore server; a plain path is a local
    directory. Without it, the backend in the config file is logged in to again. A server's API key is asked for, or
    stays the saved one when none is typed; it is never an argument, which others could see.
    """
    host = uri if uri is not None else CONFIG["aistore_host"]
    if host is None:
        raise InvalidInput("no backend to log in to; say which: em login file:///data/em")
    if is_uri(host) and parse(host).folder is not None:
        raise InvalidURI(f"{host} names a folder, and a login is to a whole store; leave out '#' and what follows")
    targets.refuse_nested(host)
    key = _ask_for_key(host, asked=api_key)
    if key is None and _is_server(host) and is_same_root(host, CONFIG["aistore_host"]):
        key = CONFIG["api_key"]
    known = saved_store(host)
    backend = session.login(host, api_key=key, is_accepted=True)
    is_new, store = _try(backend)
    saved = save_login(host, key, store=store)
    CONFIG.reload()
    if known not in ("", store):
        note("em: warning: another store was there at the last login; what is there now is used from now on")
    say(f"logged in to {clean(backend.uri)} as {clean(_user_of(backend))}; saved in {clean(saved)}")
    if is_new:
        say("nothing is there yet; the first upload makes the store")


def _user_of(backend: Backend) -> str:
    try:
        return backend.whoami()
    except InvalidInput:  # nobody has a name here, which paths with the name of a user do not need
        return "somebody without a name (set EM_USER to have one)"


def _try(backend: Backend) -> tuple[bool, str]:
    """Find out whether a backend can be used before it is saved, and make its store.

    Returns:
        Whether nothing was ever kept there, and the id of the store; '' where it has none.

    Raises:
        BackendError: The place can be neither read nor written.
    """
    is_new = isinstance(backend, TellsState) and not backend.is_there()
    store = ""
    try:
        with waiting(f"trying to write to {backend.uri}"):
            if isinstance(backend, TellsState):
                backend.try_write()
            if isinstance(backend, MarksStore):
                store = backend.init_store()
    except (BackendPermissionError, BackendFull, CorruptData, NewerStore, UnsafeStore) as error:
        if is_new:
            raise
        note(f"em: warning: what is there can be read, but nothing can be uploaded: {explain(error)}")
        if isinstance(backend, MarksStore):
            with contextlib.suppress(CorruptData, NewerStore, BackendPermissionError):  # as just told
                store = backend.store_id()
    return is_new, store


@click.command(short_help="Forget the backend or its API key.")
def logout() -> None:
    """Remove the API key, or the backend where it needs none, from the T9k config file."""
    there_was = remove_login()
    CONFIG.reload()
    say(f"logged out; changed {clean(config_path())}" if there_was else "there was no login")


@click.command(short_help="Show the settings.")
@json_option
def config(*, as_json: bool) -> None:
    """Show the settings and the environment variables that are set; the API key is masked."""
    path = config_path()
    key = CONFIG["api_key"]
    settings = {
        "config_file": str(path),
        "config_file_exists": path.exists(),
        "aistore_host": CONFIG["aistore_host"],
        "asset_hub_host": CONFIG["asset_hub_host"],
        "api_key": None if key is None else masked(key),
        "backend": click.get_current_context().find_root().obj or CONFIG["aistore_host"],
        "run_directory": str(layout.parent_directory(RUN)),
        "artifact_directory": str(layout.parent_directory(ARTIFACT)),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    if as_json:
        print_json(settings)
        return
    rows = []
    for name, value in settings.items():
        if name == "environment":
            for variable, content in settings["environment"].items():  # type: ignore[union-attr]  # a dict, see above
                rows.append((text(f"${variable}"), text(content)))
        elif name != "config_file_exists":
            shown = "-" if value is None else value
            rows.append(
                (text(name), text(f"{shown}{'' if name != 'config_file' or path.exists() else ' (not there)'}"))
            )
    print_pairs(rows, console())


_VARIABLES = (
    "T9K_CONFIG",
    "EM_BACKEND",
    "EM_USER",
    "EM_RUN_PARENT_DIR",
    "EM_ARTIFACT_PARENT_DIR",
    "EM_MODE",
    "EM_CAPTURE_DIFF",
    "EM_SILENT",
    "EM_REFERENCE_HOSTS",
)


def masked(key: str) -> str:
    """Return an API key that can be recognized and not used."""
    return "****" + (key[-_SHOWN_OF_KEY:] if len(key) >= 4 * _SHOWN_OF_KEY else "")


def _is_server(host: str) -> bool:
    return is_uri(host) and parse(host).scheme in ("http", "https")


def _ask_for_key(host: str, *, asked: bool) -> str | None:
    """Return the key that somebody types, or that comes from a file; None for a backend without one."""
    on_terminal = sys.stdin.isatty()
    if on_terminal and (asked or _is_server(host)):
        typed: str = click.prompt("API key", hide_input=True, default="", show_default=False, err=True)
        return typed.strip() or None
    if asked:
        return sys.stdin.readline().strip() or None
    return None
