"""`em server user`, `key` and `group`: who may use a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, TypeVar

import click

from t9k.em.cli.guessing import Guessing
from t9k.em.cli.output import json_option, note, print_json, print_rows, say, text
from t9k.em.cli.server_database import accounts, plain
from t9k.em.cli.text import clean, when
from t9k.em.records import utc_text

if TYPE_CHECKING:
    from t9k.em.server.accounts import Group, KeyInfo, Scope, User

    Named = TypeVar("Named", User, Group)

_PAGE = 1000


def all_of(page: Callable[[str, int], list[Named]]) -> Iterator[Named]:
    """Yield the records of all pages."""
    after = ""
    while found := page(after, _PAGE):
        yield from found
        after = found[-1].name


def time_text(moment: datetime | None) -> str:
    """Return a time, or '-' for none."""
    return "-" if moment is None else when(utc_text(moment))


@click.group(cls=Guessing, short_help="Add, list, disable and enable users.")
def user() -> None:
    """Manage users."""


@user.command("add", short_help="Add a user.")
@click.argument("name", metavar="USER")
@click.option("--admin", is_flag=True, help="Who may do everything.")
def add_user(name: str, *, admin: bool) -> None:
    """Add USER, whose runs and artifacts will lie under /USER."""
    with accounts() as found:
        found.add_user(name, is_admin=admin)
    say(f"added user {clean(name)}")
    note(f"em server key add {clean(name)} makes an API key")


@user.command("list", short_help="List the users.")
@json_option
def list_users(*, as_json: bool) -> None:
    """List all users."""
    with accounts() as found:
        users = list(all_of(found.users))
    if as_json:
        print_json([plain(each) for each in users])
        return
    rows = [
        (
            text("admin" if each.is_admin else "user"),
            text("disabled" if each.disabled else "enabled"),
            text(time_text(each.created)),
            text(each.name),
        )
        for each in users
    ]
    print_rows(("Role", "State", "Created", "Name"), rows)


@user.command("disable", short_help="Accept no key of a user.")
@click.argument("name", metavar="USER")
def disable_user(name: str) -> None:
    """Let no key of USER be accepted from now on; what is theirs stays."""
    with accounts() as found:
        found.set_disabled(name, True)
    say(f"disabled user {clean(name)}")


@user.command("enable", short_help="Accept the keys of a user again.")
@click.argument("name", metavar="USER")
def enable_user(name: str) -> None:
    """Let the keys of USER be accepted again, but for those that were revoked or have expired."""
    with accounts() as found:
        found.set_disabled(name, False)
    say(f"enabled user {clean(name)}")


@click.group(cls=Guessing, short_help="Add, list and revoke API keys.")
def key() -> None:
    """Manage API keys. Only hashes are stored: a key that was lost is revoked, and another one made."""


@key.command("add", short_help="Make an API key and print it.")
@click.argument("name", metavar="USER")
@click.option("--note", "what_for", default="", help="What it is for.")
@click.option("--days", type=click.IntRange(1, 36_500), help="After how many days it expires; never without this.")
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "all"]),
    default="all",
    show_default=True,
    help="To read, also to write, or everything, keys and shares included.",
)
@click.option("--folder", metavar="PATH", help="Bind it to a folder: /alice/mnist.")
def add_key(name: str, *, what_for: str, days: int | None, scope: Scope, folder: str | None) -> None:
    """Make an API key for USER and print it, once."""
    expires = None if days is None else datetime.now(timezone.utc) + timedelta(days=days)
    with accounts() as found:
        info, made = found.add_key(name, note=what_for, expires=expires, scope=scope, folder=folder)
    say(made)
    note(f"this is API key {info.id} of {clean(name)}; it is not shown again")


@key.command("list", short_help="List the API keys of a user.")
@click.argument("name", metavar="USER")
@json_option
def list_keys(name: str, *, as_json: bool) -> None:
    """List the API keys of USER, without their text."""
    with accounts() as found:
        keys = found.keys(name)
    if as_json:
        print_json([plain(each) for each in keys])
        return
    rows = [
        (
            text(each.id),
            text(_state(each)),
            text(each.scope if each.folder is None else f"{each.scope} {each.folder}"),
            text(time_text(each.created)),
            text(time_text(each.expires)),
            text(time_text(each.used)),
            text(each.parent or "-"),
            text(each.note),
        )
        for each in keys
    ]
    print_rows(("ID", "State", "Scope", "Created", "Expires", "Used", "Made by", "Note"), rows)


@key.command("revoke", short_help="Accept an API key no more.")
@click.argument("name", metavar="USER")
@click.argument("key_id", metavar="ID")
def revoke_key(name: str, key_id: str) -> None:
    """Revoke the API key ID of USER, and all keys that were made with it."""
    with accounts() as found:
        found.revoke_key(name, key_id)
    say(f"revoked API key {clean(key_id)} of {clean(name)}")


def _state(key: KeyInfo) -> str:
    if key.revoked is not None:
        return "revoked"
    expired = key.expires is not None and key.expires <= datetime.now(timezone.utc)
    return "expired" if expired else "valid"


@click.group(cls=Guessing, short_help="Add, list and remove groups, and their members.")
def group() -> None:
    """Manage groups of users, with whom something can be shared."""


@group.command("add", short_help="Add a group.")
@click.argument("name", metavar="GROUP")
def add_group(name: str) -> None:
    """Add GROUP, without members."""
    with accounts() as found:
        found.add_group(name)
    say(f"added group {clean(name)}")


@group.command("list", short_help="List the groups and their members.")
@json_option
def list_groups(*, as_json: bool) -> None:
    """List all groups."""
    with accounts() as found:
        groups = list(all_of(found.groups))
    if as_json:
        print_json([plain(each) for each in groups])
        return
    print_rows(("Group", "Members"), [(text(each.name), text(" ".join(each.members))) for each in groups])


@group.command("remove", short_help="Remove a group.")
@click.argument("name", metavar="GROUP")
def remove_group(name: str) -> None:
    """Remove GROUP, and take back what was shared with it; its members stay users."""
    with accounts() as found:
        found.remove_group(name)
    say(f"removed group {clean(name)}")


@group.command("join", short_help="Make a user a member.")
@click.argument("name", metavar="GROUP")
@click.argument("member", metavar="USER")
def join_group(name: str, member: str) -> None:
    """Make USER a member of GROUP."""
    with accounts() as found:
        found.add_member(name, member)
    say(f"user {clean(member)} is a member of {clean(name)}")


@group.command("leave", short_help="End a membership.")
@click.argument("name", metavar="GROUP")
@click.argument("member", metavar="USER")
def leave_group(name: str, member: str) -> None:
    """Let USER be a member of GROUP no more."""
    with accounts() as found:
        found.remove_member(name, member)
    say(f"user {clean(member)} is no longer a member of {clean(name)}")
