"""What was probably meant by a command, a choice or a node that there is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

import click

from t9k.em.cli.text import clean
from t9k.em.errors import EMError
from t9k.em.names import join, parent_and_name, split_version
from t9k.em.typos import did_you_mean, nearest
from t9k.em.uris import uri_of_node

_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(["list", "dir", "tree", "find", "runs", "status", "versions", "history", "log"], "ls"),
    **dict.fromkeys(["info", "describe", "cat", "view", "inspect", "get-run"], "show"),
    **dict.fromkeys(["draw", "chart", "graph", "curves"], "plot"),
    **dict.fromkeys(["metrics", "csv", "dump"], "export"),
    **dict.fromkeys(["put", "push", "send", "save", "sync-up"], "upload"),
    **dict.fromkeys(["get", "fetch", "pull", "load", "clone"], "download"),
    **dict.fromkeys(["copy", "mv", "move", "rename"], "cp"),
    **dict.fromkeys(["sync", "rsync", "backup", "replicate"], "mirror"),
    **dict.fromkeys(["delete", "del", "remove", "erase", "unlink"], "rm"),
    **dict.fromkeys(["clean", "prune", "purge", "collect"], "gc"),
    **dict.fromkeys(["fsck", "verify", "scrub", "heal", "repair", "audit"], "check"),
    **dict.fromkeys(["serve", "start", "ui"], "server"),
    **dict.fromkeys(["init", "auth", "signin", "connect", "use"], "login"),
    **dict.fromkeys(["signout", "disconnect"], "logout"),
    **dict.fromkeys(["settings", "whoami", "env", "configure"], "config"),
    **dict.fromkeys(["add", "create", "make", "new"], "add"),
}
"""How other tools call a command -> how this one does."""

_MORE = {
    "mv": "; what was copied goes with: em rm",
    "move": "; what was copied goes with: em rm",
    "rename": "; what was copied goes with: em rm",
    "versions": " --versions PLACE",
    "history": " --versions PLACE",
    "tree": " --tree",
    "runs": " .em/runs",
}

_MISSING = re.compile(
    r"there (is no|was never a) (?P<path>/.+?) in (?P<uri>[^\s;]+://[^\s;]*)(?P<advice>; (make it with|there is) .*)?",
    re.DOTALL,
)


class Guessing(click.Group):
    """Commands of which an unknown one is answered with the one that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            there = self.list_commands(ctx)
            elsewhere = _ELSEWHERE.get(name.casefold())
            meant = elsewhere if elsewhere in there else nearest(name, there)
            more = _MORE.get(name.casefold(), "") if meant == elsewhere else ""
            path = ctx.command_path
            guess = f"Did you mean: {path} {meant}{more}" if meant else f"There are {', '.join(there)}."
            ctx.fail(f"No such command {name!r}. {guess}")
        return super().resolve_command(ctx, args)


class Word(click.Choice):  # type: ignore[type-arg]  # generic in newer versions of click only
    """One of some words; another one is answered with the nearest."""

    def fail(self, message: str, param: click.Parameter | None = None, ctx: click.Context | None = None) -> NoReturn:
        """See click."""
        wrong = re.match(r"'(.*?)' is not one of", message)
        guess = did_you_mean(wrong[1], map(str, self.choices)) if wrong else ""
        super().fail(f"{message.rstrip('.')}{guess or '.'}", param, ctx)


def neighbours(message: str) -> str:
    """Return what follows a message about a node that is not there: that the store is not, a near name, or what lists them.

    Args:
        message: Of a `NotFound`.
    """
    missing = _MISSING.fullmatch(message)
    if missing is None:
        return ""

    uri, path = missing["uri"], split_version(missing["path"])[0]
    try:
        found = _nearest_path(uri, path)
    except (EMError, OSError):  # the first error counts
        found = None
    if found is not None:
        return clean(found)
    if missing["advice"]:
        return ""
    return f"; em ls {uri_of_node(uri, parent_and_name(path)[0])} lists what is there"


def _nearest_path(uri: str, path: str) -> str | None:
    """Return the most similar path in a backend, or a hint that the backend has none; None without a similar one."""
    from t9k.em import session
    from t9k.em.backend import TellsState

    backend = session.backend_at(uri)
    if isinstance(backend, TellsState) and not backend.is_there():
        return "; no store is there at all: check its URI"
    folder = "/"
    names = path.strip("/").split("/")
    for position, name in enumerate(names):
        there = [node.name for node in backend.list(folder)]
        if name not in there:
            close = nearest(name, there)
            rest = names[position + 1 :]
            return close and f"; did you mean {uri_of_node(uri, '/'.join([join(folder, close), *rest]))}?"
        folder = join(folder, name)
    return None
