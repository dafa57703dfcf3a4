"""`AIStoreBackend`: an AIStore server as a backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import requests

from t9k.em import wire
from t9k.em.backend import Backend
from t9k.em.errors import CorruptData, InvalidInput, NotFound, RequestRefused
from t9k.em.memory.budget import Budget
from t9k.em.names import check_key, check_path
from t9k.em.records import Listing
from t9k_em_backends.aistore.address import Address, address_of
from t9k_em_backends.aistore.connection_errors import broken_off
from t9k_em_backends.aistore.direct import DIRECT_BYTES, Direct
from t9k_em_backends.aistore.failures import Failed, failure
from t9k_em_backends.aistore.reading import stream
from t9k_em_backends.aistore.retries import Retries
from t9k_em_backends.aistore.server import Server, check_api_key, configured_key
from t9k_em_backends.aistore.upload import AIStoreUpload, hashing_s

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.backend import Upload
    from t9k.em.records import FileEntry, Node, Segment, UploadRequest
    from t9k.em.uris import URI

MOST_GROWN_BYTES = 64 << 30
"""The most that is read of a growing file, of which nobody says how long it is."""


class AIStoreBackend(Backend):
    """A tree of nodes that an AIStore server keeps; it decides names, conflicts and permissions.

    The API key goes to that server and nowhere else, in a header; it is in no error, no log and no pickle. A backend that
    was pickled finds it in the T9k configuration.

    Args:
        address: Where the server is.
        api_key: Whose it is; by default the one in the T9k configuration if that names this server.
        retries: How often, and for how long, requests are repeated.
    """

    batch_files = 128

    def __init__(self, address: Address, api_key: str | None = None, *, retries: Retries | None = None) -> None:
        self.uri = address.uri
        self._address = address
        self._api_key = api_key
        self._retries = retries or Retries()
        self._server = Server(address, self._key, self._retries)
        self._budget = Budget()
        self._direct = Direct(self._server, self._retries, self._budget)

    @classmethod
    def from_uri(cls, uri: URI, *, api_key: str | None = None, timeout_s: float | None = None) -> Self:
        """See the port; the options of the URI are `timeout` in seconds, `insecure` and `direct`."""
        return cls(address_of(uri, timeout_s), api_key)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._address,)

    def __repr__(self) -> str:
        return f"<AIStoreBackend {self.uri}>"

    @property
    def parallelism(self) -> int:  # type: ignore[override]  # the server says
        """See the port."""
        about = self._server.about
        return Backend.parallelism if about is None else about.parallel

    def open(self) -> None:
        """Ask whether an AIStore is there and who asks; see the port."""
        if self._api_key:
            check_api_key(self._api_key, self._address.url)
        self._server.ready()
        self.whoami()

    def close(self) -> None:
        """See the port."""
        self._server.close()
        self._direct.close()

    def whoami(self) -> str:
        """See the port; the server is asked once."""
        return self._server.user()

    # Reading.

    def stat(self, path: str) -> Node:
        """See the port."""
        return self._node(self._server.ask("GET", "/nodes", {"path": check_path(path, version=True)}))

    def list(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self.list_all(path).nodes

    def list_all(self, path: str) -> Listing:
        """See `t9k.em.backend.TellsLeftOut`; older servers do not tell what is damaged."""
        told: list[bool | None] = []
        damaged: dict[str, str] = {}

        def look(page: Any) -> None:
            told.append(wire.is_whole(page))
            damaged.update(wire.damaged_of(page))

        nodes = self._nodes("/nodes/children", path, look)
        is_whole = all(told)
        if None in told:  # an older server, which shows a part of a folder only to who may do no more than pass it
            said = self._server.ask("GET", "/nodes", {"path": check_path(path)})
            is_whole = self._server.understood(lambda: wire.is_shown_whole(said))
        nodes = sorted(nodes, key=lambda node: node.name)  # pages have an order of their own
        return Listing(nodes=nodes, damaged=damaged, is_whole=is_whole)

    def versions(self, path: str) -> Sequence[Node]:
        """See the port."""
        return self._nodes("/nodes/versions", path)

    def files(self, node: Node) -> Sequence[FileEntry]:
        """See the port."""
        limit = self._server.ready().files_page
        return list(self._server.pages("/nodes/files", _of(node), limit, wire.file_of))

    def read(self, node: Node, file: FileEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See the port; a large file comes straight from the store behind the server where that is possible."""
        end = file.size if end is None else min(end, file.size)
        if start >= end and file.size:
            return iter(())
        self._server.ready()
        params = {**_of(node), "key": file.key}
        whole = (start, end) == (0, file.size)

        def begin(at: int) -> requests.Response:
            partial = not whole or at > 0
            range_ = f"bytes={at}-{end - 1}" if partial else None
            return self._content(
                "/nodes/content",
                params,
                range_,
                lambda reply: self._check(reply, file, partial=partial),
                most_bytes=end - at,
            )

        source = self._direct.source(params, end, begin) if end - start >= DIRECT_BYTES else begin
        return stream(source, start, end, self._address.url, self._retries)

    def lacks(self, node: Node) -> Sequence[FileEntry]:
        """See `t9k.em.backend.NotesDamage`; an older server tells of none."""
        about = self._server.ready()
        if "damage" not in about.abilities:
            return []
        return list(self._server.pages("/nodes/damage", _of(node), about.files_page, wire.file_of))

    def note_damage(self, node: Node, file: FileEntry) -> None:
        """See `t9k.em.backend.NotesDamage`; the server reads the file itself before it notes anything."""
        if "damage" not in self._server.ready().abilities:
            raise failure(
                RequestRefused, f"{self._address.url} notes nothing of what is damaged; ask its operator to upgrade it"
            )
        self._server.ask("POST", "/nodes/damage", document={**_of(node), "key": file.key}, wait_s=hashing_s(file.size))

    # Writing.

    def make_folder(self, path: str) -> Node:
        """See the port."""
        return self._node(self._server.ask("POST", "/folders", document={"path": check_path(path)}))

    def begin(self, request: UploadRequest) -> Upload:
        """See the port."""
        self._server.ready()
        return AIStoreUpload(self._server, request, self._direct, self._budget)

    def delete(self, path: str, *, recursive: bool = False, generation: int | None = None) -> None:
        """See the port."""
        patience = self._retries.begin()
        params: dict[str, Any] = {"path": check_path(path), "recursive": "true" if recursive else "false"}
        if generation is not None:
            params["generation"] = generation
        try:
            self._server.ask("DELETE", "/nodes", params, patience=patience)
        except NotFound:
            if not patience.maybe_executed:
                raise
            self.versions(path)  # an earlier try, whose answer was lost, has deleted it, unless the name was never used

    # Runs in progress.

    def append(self, node: Node, key: str, start: int, data: bytes) -> int:
        """See `t9k.em.backend.Grows`."""
        most = self._grows()
        check_key(key)
        if start < 0:
            raise InvalidInput(
                f"a file has nothing before its first byte; append to {key!r} from 0 on, not from {start}"
            )
        end = start
        for at in range(0, max(len(data), 1), most):
            params = {**_of(node), "key": key, "start": start + at}
            said = self._server.ask("POST", "/runs/append", params, data=data[at : at + most])
            end = self._server.understood(partial(_end, said))
        return end

    def grown(self, node: Node) -> Sequence[Segment]:
        """See `t9k.em.backend.Grows`."""
        self._grows()
        said = self._server.ask("GET", "/runs/grown", _of(node))
        return self._server.understood(lambda: [wire.segment_of(item) for item in said["items"]])

    def read_grown(self, node: Node, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `t9k.em.backend.Grows`."""
        self._grows()

        def begin(at: int) -> requests.Response:
            params: dict[str, Any] = {**_of(node), "key": key, "start": at}
            most_bytes = MOST_GROWN_BYTES + start - at if end is None else max(0, end - at)
            return self._content(
                "/runs/content", params if end is None else {**params, "end": end}, most_bytes=most_bytes
            )

        return stream(begin, start, None, self._address.url, self._retries)

    def _grows(self) -> int:
        """Return the largest number of bytes for one append.

        Raises:
            RequestRefused: The server takes no growing files.
        """
        about = self._server.ready()
        if "grows" not in about.abilities:
            raise failure(
                RequestRefused,
                f"{self._address.url} takes no runs in progress; upload them when they are finished",
            )
        return about.body_bytes

    # Answers.

    def _key(self) -> str | None:
        return configured_key(self._address.url) if self._api_key is None else self._api_key

    def _node(self, said: Any) -> Node:
        return self._server.understood(lambda: wire.node_of(said))

    def _nodes(self, address: str, path: str, look: Callable[[Any], object] = lambda _: None) -> Sequence[Node]:
        limit = self._server.ready().page
        return list(self._server.pages(address, {"path": check_path(path)}, limit, wire.node_of, look))

    def _content(
        self,
        path: str,
        params: Mapping[str, Any],
        range_: str | None = None,
        check: Callable[[requests.Response], None] = lambda _: None,
        *,
        most_bytes: int,
    ) -> requests.Response:
        """Ask for bytes, and leave them to be read.

        Args:
            path: After the prefix of the API.
            params: Of the query.
            range_: Which bytes; None for all.
            check: Raises when an answer is not the right one.
            most_bytes: How many bytes may come.
        """
        connection = self._server.connection
        headers = {} if range_ is None else {"Range": range_}

        def once() -> requests.Response:
            response = connection.send("GET", f"{wire.PREFIX}{path}", params, headers=headers, most_bytes=most_bytes)
            check(response)
            return response

        found: requests.Response = connection.repeat(once)
        return found

    def _check(self, response: requests.Response, file: FileEntry, *, partial: bool) -> None:
        """Look whether an answer brings what was asked for.

        Raises:
            CorruptData: The answer holds other bytes.
            Failed: The server may have forgotten the upload.
        """
        tag = response.headers.get("ETag", "").removeprefix("W/").strip('"')
        if response.status_code == (206 if partial else 200) and tag == file.sha256:
            return
        response.close()
        if "X-Request-Id" not in response.headers:  # of each answer; perhaps its head was cut before the end
            raise Failed(broken_off(self._address.url))
        raise failure(
            CorruptData,
            f"{self._address.url} answers with other bytes than those of {file.key!r}; a proxy on the way may change them",
            response.status_code,
        )


def _end(said: Any) -> int:
    return int(said["end"])


def _of(node: Node) -> dict[str, Any]:
    return {"path": node.path, "generation": node.generation}
