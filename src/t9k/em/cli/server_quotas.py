"""`em server usage` and `em server user quota`: how much users have, and may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from t9k.em.cli.output import json_option, note, print_json, print_rows, say, text
from t9k.em.cli.server_database import accounts, chosen_root, plain
from t9k.em.cli.server_people import all_of, time_text, user
from t9k.em.cli.sizes import parse_size
from t9k.em.cli.text import clean, size

if TYPE_CHECKING:
    from t9k.em.server.accounts import Accounts

_DEFAULT = "default"
_Given = int | str | None  # what click makes of an option


def _parse_count(value: str | int) -> int | str:
    if value == _DEFAULT:
        return _DEFAULT
    if not str(value).isdecimal():
        raise click.BadParameter(f"{value!r} is no number; write 0 for any number, or {_DEFAULT!r}")
    return int(value)


def _parse_bytes(value: str | int) -> int | str:
    return _DEFAULT if value == _DEFAULT else parse_size(value)


@user.command("quota", short_help="Show or set what a user may have.")
@click.argument("name", metavar="USER")
@click.option("--bytes", "size_bytes", type=_parse_bytes, metavar="SIZE", help="In all of USER's folders, as 500GiB.")
@click.option("--uploads", type=_parse_count, metavar="N", help="Uploads in progress.")
@click.option("--shares", type=_parse_count, metavar="N", help="Shares of what lies in USER's folders.")
@click.option("--keys", type=_parse_count, metavar="N", help="Valid API keys.")
def set_quota(name: str, *, size_bytes: _Given, uploads: _Given, shares: _Given, keys: _Given) -> None:
    """Show what USER may have, and change what is given: 0 is for any number, 'default' for what the server was started with."""
    given = {"bytes": size_bytes, "uploads": uploads, "shares": shares, "keys": keys}
    changes: dict[str, Any] = {
        what: None if value == _DEFAULT else value for what, value in given.items() if value is not None
    }
    with accounts() as found:
        quotas = attrs.evolve(found.quotas(name), **changes)
        if changes:
            found.set_quotas(name, quotas)
    for what, value in attrs.asdict(quotas).items():
        say(f"{what}: {_shown(what, value)}")


def _shown(what: str, value: int | None) -> str:
    if value is None:
        return "as the server was started"
    if value == 0:
        return "any"
    return size(value) if what == "bytes" else f"{value}"


@click.command("usage", short_help="Show how much users have, and count it anew.")
@click.argument("names", metavar="[USER]...", nargs=-1)
@click.option("--recount", is_flag=True, help="Count the bytes in the store, after em gc; needs em server --root.")
@json_option
def usage(names: tuple[str, ...], *, recount: bool, as_json: bool) -> None:
    """Show what all users, or some, have of what they may have.

    Bytes are those of all files in the folders of a user, whoever uploaded them: of old and deleted versions, until em gc has collected
    them and they were counted anew, and of uploads in progress.
    """
    with accounts() as found:
        wanted = names or tuple(each.name for each in all_of(found.users))
        if recount:
            _recount(found, wanted)
        rows = [(name, found.usage(name), found.quotas(name)) for name in wanted]
    if as_json:
        print_json([{"user": name, "used": plain(used), "quotas": attrs.asdict(quotas)} for name, used, quotas in rows])
        return
    shown = [
        (
            text(size(used.bytes) + _of(size(quotas.bytes) if quotas.bytes else None)),
            text(f"{used.uploads}" + _of(quotas.uploads)),
            text(f"{used.shares}" + _of(quotas.shares)),
            text(f"{used.keys}" + _of(quotas.keys)),
            text(time_text(used.counted)),
            text(name),
        )
        for name, used, quotas in rows
    ]
    print_rows(("Bytes", "Uploads", "Shares", "Keys", "Counted", "User"), shown)


def _of(most: object) -> str:
    return f" of {most}" if most else ""


def _recount(found: Accounts, names: tuple[str, ...]) -> None:
    from t9k.em.registry import open_backend
    from t9k.em.server.usage import recount

    backend = open_backend(chosen_root())
    backend.open()
    try:
        for name in names:
            found.user(name)
            recount(found, backend, name)
            note(f"counted what {clean(name)} has")
    finally:
        backend.close()
