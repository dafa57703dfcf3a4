"""What answers at an address, who asks, and how much it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import evolve, frozen

from t9k.em import wire
from t9k.em.errors import BackendError, NotAuthenticated
from t9k.em.names import check_name
from t9k.em.uris import is_same_root
from t9k_em_backends.aistore.address import Address, is_key
from t9k_em_backends.aistore.connection import CONNECTIONS, Connection, Sessions
from t9k_em_backends.aistore.failures import AnswerTooLarge, failure, stranger
from t9k_em_backends.aistore.retries import Retries

FIRST_S = 5.0
"""For how long the first request is repeated, which may have a wrong address; later ones are to outlast a restart."""

LEAST_BODY_BYTES = 64 << 10
"""A server that takes less in one request is not used: a large file would take requests without number."""

MOST_BODY_BYTES = 64 << 20
MOST_DOCUMENT_BYTES = 1 << 30
MOST_PAGE = 10_000
MOST_ITEMS = 5_000_000
"""How many items a listing may have; a list of files has fewer, by its own limit."""

MOST_EMPTY_PAGES = 1000
"""How many pages without an item may follow each other."""

_T = TypeVar("_T")


@frozen(kw_only=True)
class About:
    """What a server says of itself.

    Attributes:
        abilities: What it can do beyond what every one can.
        body_bytes: The most that one request may carry.
        document_bytes: The same for the JSON that begins an upload.
        page: How many items of a listing come at once.
        files_page: How many files of a listing come at once.
        parallel: How many requests at a time pay off.
    """

    abilities: frozenset[str]
    body_bytes: int
    document_bytes: int
    page: int
    files_page: int
    parallel: int


class Server:
    """One server, asked by one user.

    Args:
        address: Where it is.
        key: Gives the API key; None without one.
        retries: How often to ask.
    """

    def __init__(self, address: Address, key: Callable[[], str | None], retries: Retries) -> None:
        self.address = address
        self._find_key = key
        self._sessions = Sessions()
        self.connection = Connection(address.url, address.timeout_s, retries, self._key, self._sessions)
        self._about: About | None = None
        self._user: str | None = None

    @property
    def about(self) -> About | None:
        """What it says of itself, once it was asked."""
        return self._about

    def ready(self) -> About:
        """Make sure, once, that an AIStore is there which speaks this version.

        Raises:
            BackendError: The server is no AIStore, or speaks another version.
            BackendUnavailable: The server does not answer.
        """
        if self._about is None:
            first = evolve(self.connection.retries, total_s=min(FIRST_S, self.connection.retries.total_s))
            said = self.connection.ask("GET", f"{wire.PREFIX}/version", patience=first.begin(), anonymous=True)
            self._about = self._understood(said)
        return self._about

    def user(self) -> str:
        """Return the user of the key, which the server is asked for once.

        Raises:
            NotAuthenticated: The key is missing, malformed, unknown, revoked or expired.
        """
        if self._user is None:
            said = self.ask("GET", "/user")
            self._user = self.understood(lambda: check_name(said["name"], what="user"))
        return self._user

    def ask(self, method: str, path: str, params: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Make a request of the API.

        Args:
            method: Of HTTP.
            path: After the prefix of the API.
            params: Of the query.
            **options: See `Connection.ask`.
        """
        self.ready()
        return self.connection.ask(method, f"{wire.PREFIX}{path}", params, **options)

    def pages(
        self,
        path: str,
        params: Mapping[str, Any],
        limit: int,
        make: Callable[[Any], _T],
        look: Callable[[Any], object] = lambda _: None,
    ) -> Iterator[_T]:
        """Yield all items of a listing.

        Args:
            path: After the prefix of the API.
            params: Of the query.
            limit: How many come at once.
            make: Makes an item of its JSON.
            look: Is shown each page.
        """
        after: str | None = ""
        cursors: set[str] = set()
        count = empty = 0
        while after is not None:
            asked = {**params, **({"after": after} if after else {})}
            page, limit = self._page(path, asked, limit)
            items, following = self.understood(partial(_page, page, make))
            self.understood(partial(look, page))
            count += len(items)
            empty = 0 if items else empty + 1
            if following in cursors:
                raise stranger(self.address.url, 200, "the same page of a listing again and again")
            if following is not None and (count >= MOST_ITEMS or empty > MOST_EMPTY_PAGES):
                raise stranger(self.address.url, 200, "a listing without end")
            cursors.add(following or "")
            after = following
            yield from items

    def _page(self, path: str, params: Mapping[str, Any], limit: int) -> tuple[Any, int]:
        """Ask for a page of a listing, for a shorter one where it is too long; returns how many items that were too."""
        while True:
            try:
                return self.ask("GET", path, {**params, "limit": limit}), limit
            except AnswerTooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 8)

    def understood(self, make: Callable[[], _T]) -> _T:
        """Make a record of an answer.

        Raises:
            BackendError: The answer has another form.
        """
        try:
            return make()
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise failure(
                BackendError,
                f"{self.address.url} answers what this version of t9k-em does not understand ({error}); upgrade t9k-em",
                200,
            ) from None

    def close(self) -> None:
        """Close idle connections."""
        self._sessions.close()

    def _understood(self, said: Any) -> About:
        where = self.address.url
        if not isinstance(said, dict) or said.get("service") != wire.SERVICE:
            raise stranger(where, 200, "something else than an AIStore does")
        if said.get("api") != wire.API:
            raise failure(
                BackendError,
                f"{where} speaks version {said.get('api')!r} of the API, and this t9k-em version {wire.API}; upgrade the "
                "older one of the two",
                200,
            )
        return self.understood(
            lambda: About(
                abilities=frozenset(map(str, said["abilities"])),
                body_bytes=_limit(said, "bodyBytes", LEAST_BODY_BYTES, MOST_BODY_BYTES),
                document_bytes=_limit(said, "documentBytes", 1, MOST_DOCUMENT_BYTES),
                page=_limit(said, "page", 1, MOST_PAGE),
                files_page=_limit(said, "filesPage", 1, MOST_PAGE),
                parallel=_limit(said, "parallel", 1, CONNECTIONS),
            )
        )

    def _key(self) -> str:
        key = self._find_key()
        url = self.address.url
        if not key:
            raise failure(
                NotAuthenticated,
                f"{url} needs an API key; log in with: em login {url} (where there is no terminal, with --api-key and the "
                "key on stdin), or in Python with em.login(..., api_key=...)",
                details={"reason": "key_missing"},
            )
        check_api_key(key, url)
        return key


def check_api_key(key: str, url: str) -> None:
    """Refuse, before anything is sent, what cannot be an API key.

    Raises:
        NotAuthenticated: The text is no API key; the message does not repeat it.
    """
    if not is_key(key):
        raise failure(
            NotAuthenticated,
            f"the API key for {url} is malformed: it has to be a UUID, 32 hexadecimal digits in five groups, as it "
            "was printed when it was made; log in with it again",
            details={"reason": "key_malformed"},
        )


def configured_key(url: str) -> str | None:
    """Return the API key in the T9k configuration, if it belongs to this server."""
    from t9k import CONFIG  # noqa: PLC0415 - the config file is read only when it is needed

    return CONFIG["api_key"] if is_same_root(CONFIG["aistore_host"], url) else None


def _page(said: Any, make: Callable[[Any], _T]) -> tuple[list[_T], str | None]:
    following = said["next"]
    return [make(item) for item in said["items"]], None if following is None else _text(following)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no name")
    return value


def _limit(said: Any, name: str, least: int, most: int) -> int:
    """Return a limit that the server announces, as far as this client accepts it."""
    value = said["limits"][name]
    if type(value) is not int or value < least:
        raise ValueError(f"{name} {value!r} is no limit")
    return min(value, most)
