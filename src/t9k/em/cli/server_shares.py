"""`em server share`: who may see or change what is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from t9k.em.cli.guessing import Guessing
from t9k.em.cli.output import json_option, print_json, print_rows, say, text
from t9k.em.cli.server_database import accounts, plain
from t9k.em.cli.text import clean, when
from t9k.em.records import utc_text

if TYPE_CHECKING:
    from t9k.em.server.accounts import Kind

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_whom(command: _F) -> _F:
    for option in (
        click.option("--public", is_flag=True, help="With everybody."),
        click.option("--group", metavar="GROUP", help="With the members of a group."),
        click.option("--user", metavar="USER", help="With a user."),
    ):
        command = option(command)
    return command


def _whom(user: str | None, group: str | None, *, public: bool) -> tuple[Kind, str]:
    """Return the one that was named.

    Raises:
        UsageError: No party is given, or several.
    """
    if [user is not None, group is not None, public].count(True) != 1:
        raise click.UsageError("say with whom: one of --user USER, --group GROUP and --public")
    if public:
        return "public", ""
    return ("user", user) if user is not None else ("group", str(group))


def _called(kind: str, name: str) -> str:
    return f"{kind} {clean(name)}" if name else "everybody"


@click.group(cls=Guessing, short_help="Add, list and remove shares.")
def share() -> None:
    """Manage shares: each lets others view or edit a PATH such as /alice/mnist, and all below it."""


@share.command("add", short_help="Share a path.")
@click.argument("path")
@_with_whom
@click.option("--edit", is_flag=True, help="Allow changes; without this, to look only.")
@click.option("--by", metavar="USER", help="Who shares it; by default whose tree it lies in.")
def add_share(path: str, *, user: str | None, group: str | None, public: bool, edit: bool, by: str | None) -> None:
    """Shares PATH and all below it; again changes what is allowed."""
    kind, name = _whom(user, group, public=public)
    if by is None:
        by = path.split("/")[1] if path.strip("/") and path.startswith("/") else ""
        if not by:
            raise click.UsageError("say who shares with --by USER; a PATH looks like /alice/mnist")
    with accounts() as found:
        found.user(by)
        made = found.share(path, kind, name, "edit" if edit else "view", by)
    say(f"{_called(kind, name)} may {made.level} {clean(path)}")


@share.command("list", short_help="List the shares of a path.")
@click.argument("path")
@json_option
def list_shares(path: str, *, as_json: bool) -> None:
    """List the shares of PATH itself; those of folders above it hold as well."""
    with accounts() as found:
        shares = found.shares(path)
    if as_json:
        print_json([plain(each) for each in shares])
        return
    rows = [
        (text(each.level), text(each.by), text(when(utc_text(each.created))), text(_called(each.kind, each.name)))
        for each in shares
    ]
    print_rows(("Level", "By", "Created", "With"), rows)


@share.command("remove", short_help="Take a share back.")
@click.argument("path")
@_with_whom
def remove_share(path: str, *, user: str | None, group: str | None, public: bool) -> None:
    """Take a share of PATH back; those of folders above it stay."""
    kind, name = _whom(user, group, public=public)
    with accounts() as found:
        found.unshare(path, kind, name)
    say(f"{clean(path)} is no longer shared with {_called(kind, name)}")
