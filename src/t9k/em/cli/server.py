"""`em server`: serves a backend over HTTP, and makes the database with its accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from t9k.em.cli.guessing import Guessing
from t9k.em.cli.output import note, say
from t9k.em.cli.server_database import accounts, choose, require_extra
from t9k.em.cli.server_people import group, key, user
from t9k.em.cli.server_quotas import usage
from t9k.em.cli.server_shares import share
from t9k.em.cli.sizes import parse_size
from t9k.em.cli.text import clean
from t9k.em.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from t9k.em.server.accounts import Accounts

_WEEK_S = 7 * 86_400


@click.group(
    cls=Guessing, invoke_without_command=True, short_help="Serve a backend to a team, and manage its accounts."
)
@click.option(
    "--root", metavar="URI", envvar="EM_SERVER_ROOT", show_envvar=True, help="The backend: file:///data/em, s3://..."
)
@click.option(
    "--database",
    metavar="URL",
    envvar="EM_SERVER_DATABASE",
    show_envvar=True,
    help="Accounts, keys and shares: sqlite:////path/server.db or postgresql://...; by default a file under ~/.local/state.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0 for a free one.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that serve.")
@click.option("--root-path", metavar="PATH", default="", help="Path of the server behind a proxy: /t9k/aistore/server.")
@click.option("--allow-query-keys", is_flag=True, help="Accept API keys in URLs, as old clients send them.")
@click.option("--direct/--no-direct", default=None, help="Send large objects past the server, where the store can.")
@click.option("--body-bytes", type=click.IntRange(min=1), metavar="BYTES", help="The most that one request may carry.")
@click.option(
    "--connections", type=click.IntRange(min=1), default=4096, show_default=True, help="At once, in one process."
)
@click.option(
    "--connections-per-address",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Of them from one address; a proxy is one.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=0, show_default=True, help="Requests a second per user; 0: any."
)
@click.option("--max-shares", type=click.IntRange(0), default=10_000, show_default=True, help="In one home; 0: any.")
@click.option("--max-uploads", type=click.IntRange(0), default=1000, show_default=True, help="Of one user; 0: any.")
@click.option(
    "--max-bytes", type=parse_size, metavar="SIZE", default=0, show_default=True, help="In one home, as 500GiB; 0: any."
)
@click.option("--audit", metavar="FILE", default="", help="Log there who did what; '-' for standard error.")
@click.option(
    "--upload-lifetime",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    default=_WEEK_S,
    show_default=True,
    help="How long an upload can be gone on with.",
)
def server(root: str | None, *, database: str | None, upload_lifetime: int, **options: Any) -> None:
    """Serve a backend over HTTP; with a command, manage its accounts.

    To begin: em server init USER makes the database and prints the first key, then em server --root URI serves. A URL
    of a database with a password belongs into the environment, for others can see the arguments of a process.
    """
    ctx = click.get_current_context()
    chosen = choose(ctx, database, root)
    if ctx.invoked_subcommand is not None:
        return
    if not root:
        raise click.UsageError("say what to serve, such as --root file:///data/em")
    require_extra()
    from t9k.em.server.serving import run
    from t9k.em.server.settings import Settings

    given = {name: value for name, value in options.items() if value is not None}
    run(Settings(root=root, database=chosen, upload_lifetime_s=upload_lifetime, **given))


@server.command(short_help="Make the tables of the database, or bring them to this version.")
def migrate() -> None:
    """Make the database and its tables, or bring them to this version; can be run again, and by several at once."""
    with accounts(check=False) as found:
        found.migrate()
        say(f"{clean(found.url)} has the tables of this version")


@server.command(short_help="Make the database and the first user, and print a key.")
@click.argument("name", metavar="USER")
@click.pass_context
def init(ctx: click.Context, name: str) -> None:
    """Make the database, and USER as its first user, who may do everything; print the user's API key, once.

    With --root it makes the store too, and a directory with all above it.
    """
    root: str | None = None if ctx.parent is None else ctx.parent.params["root"]
    with accounts(check=False) as found:
        found.migrate()
        if found.users(limit=1):
            raise Conflict(
                f"{found.url} has users already; em server user list shows them, em server key add USER makes a key"
            )
        if root:
            _accept(found, root)
        found.add_user(name, is_admin=True)
        _, text = found.add_key(name, note="em server init")
        url = clean(found.url)
    say(text)
    parent = ctx.parent
    told = parent is not None and parent.get_parameter_source("database") is ParameterSource.COMMANDLINE
    command = f"em server --database {url}" if told else "em server"
    note(f"this is the API key of {clean(name)}, who may do everything; it is not shown again. Next:")
    served = f"--root {clean(root)}" if root else "--root file:///data/em     "
    note(f"  {command} {served} # serves that directory on http://127.0.0.1:8000")
    note("  em login http://127.0.0.1:8000 --api-key  # in another terminal; asks for the key")
    note(f"  {command} user add bob                # then: {command} key add bob")


@server.command(short_help="Take what is at the root now for the store of the server.")
@click.pass_context
def accept(ctx: click.Context) -> None:
    """Take what is at the root now for the store of the server, as after a restore into a new place.

    A server refuses to write where its store is missing or another one is. This says that the new one is right; a root that is
    empty becomes a new store.
    """
    root: str | None = None if ctx.parent is None else ctx.parent.params["root"]
    if not root:
        raise click.UsageError("say which root: em server --root file:///data/em accept")
    with accounts() as found:
        uri, store = _accept(found, root)
    say(f"{clean(uri)} is the store {clean(store)} from now on")


def _accept(found: Accounts, root: str) -> tuple[str, str]:
    """Make the store at a root unless it exists, and record it in the database; return its URI and id."""
    from t9k.em.backend import MakesRoot, MarksStore
    from t9k.em.registry import open_backend

    backend = open_backend(root)
    if isinstance(backend, MakesRoot):
        backend.make_root()
    with backend:
        if not isinstance(backend, MarksStore):
            raise InvalidInput(f"{backend.uri} keeps no mark of its store, so there is nothing to accept")
        store = backend.init_store()
    found.accept_store(backend.uri, store)
    return backend.uri, store


for _command in (user, key, group, share, usage):
    server.add_command(_command)
