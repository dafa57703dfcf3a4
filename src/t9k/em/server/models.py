"""The JSON of requests and answers as FastAPI checks and documents it; `t9k.em.wire` turns it into records and back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.alias_generators import to_camel

from t9k.em.server.accounts import Scope
from t9k.em.wire import CODES, MOST_ANCESTORS

_Item = TypeVar("_Item")
MAX_TEXT = 4096

Path = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, examples=["/alice/mnist/cnn"])]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Op = Annotated[str, Field(min_length=1, max_length=64, examples=["20261125T101500.000000Z-4e48t2abcd"])]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Sent(BaseModel):
    """What a client sends: nothing that is not known, and no number for a text."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class _Answered(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Problem(BaseModel):
    """What went wrong."""

    code: Literal[tuple(CODES)]  # type: ignore[valid-type]  # the table is the one place of the codes
    message: str
    requestId: str  # noqa: N815 - as it is called on the wire


class Failure(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: Problem


class Page(_Answered, Generic[_Item]):
    """Some items of a listing, and what to pass as `after` for those that follow."""

    items: list[_Item]
    next: str | None


class Items(_Answered, Generic[_Item]):
    """All items of a listing."""

    items: list[_Item]


class Limits(_Answered):
    """The most that one request may carry or ask for."""

    body_bytes: int
    document_bytes: int
    page: int
    files_page: int
    parallel: int


class Version(_Answered):
    """What answers here."""

    service: Literal["aistore"]
    api: int
    version: str
    abilities: list[str]
    limits: Limits


class UserInfo(BaseModel):
    """The user in the form of the sibling servers."""

    preferred_username: str


class Quota(_Answered):
    """How many, or how many bytes, a user has, and may have; 0 for any number."""

    used: int
    most: int


class Quotas(_Answered):
    """What a user has and may have."""

    keys: Quota
    shares: Quota
    uploads: Quota
    bytes: Quota


class Me(_Answered):
    """Who asks."""

    name: str
    is_admin: bool
    groups: list[str]
    scope: Scope
    folder: str | None
    quotas: Quotas


class Node(_Answered):
    """A generation of a node."""

    id: str
    name: str
    path: str
    type: str
    storage_type: int
    labels: list[str]
    description: str
    editor: str
    permission: Literal["own", "edit", "view", "pass"]
    modified_timestamp: str
    extra: str
    generation: int
    file_count: int
    size: int
    deleted: bool
    op: str
    metadata: dict[str, Any]


class Children(Page[Node]):
    """Some children of a folder."""

    whole: Annotated[bool, Field(description="Whether the one who asks may see all nodes in the folder.")]
    damaged: Annotated[
        dict[str, str],
        Field(default_factory=dict, description="Nodes of this page whose record is damaged: name -> what is wrong."),
    ]


class File(_Answered):
    """A file of a published node."""

    key: str
    op: str
    size: int
    sha256: str
    etag: str


class FolderIn(_Sent):
    """A folder to make."""

    path: Path


class MoveIn(_Sent):
    """Where a node goes."""

    path: Path
    folder: Path


class DamageIn(_Sent):
    """A file that somebody found damaged."""

    path: Path
    generation: Annotated[int, Field(ge=1, le=99_999_999)]
    key: str


class Damage(_Answered):
    """Whether a file is damaged."""

    damaged: bool


class DraftIn(_Sent):
    """The node that an upload publishes."""

    type: Literal["Run", "Artifact", "Model", "Dataset"]
    name: Name
    alternative_name: Name
    id: Annotated[str, Field(min_length=1, max_length=64)]
    metadata: dict[str, Any] = {}


class FileIn(_Sent):
    """A file that an upload announces."""

    key: Annotated[str, Field(min_length=1, max_length=1024)]
    size: Count
    sha256: Sha256


class UploadIn(_Sent):
    """What begins an upload, see `t9k.em.records.UploadRequest`."""

    RECORDS: ClassVar = ("files", FileIn)

    op: Op
    folder: Path
    draft: DraftIn
    files: Annotated[list[FileIn], FailFast()]
    strategy: Literal["skip", "error", "new", "replace"] = "new"
    make_folder: bool = False
    resumed: bool = False
    since: Count = 0
    prefer_alternative: bool = False
    ancestors: Annotated[list[Op], Field(max_length=MOST_ANCESTORS)] | None = None
    compare: Literal["listing", "content"] = "listing"


class UploadState(_Answered):
    """How far an upload is."""

    op: str
    outcome: Literal["published", "unchanged", "skipped"] | None
    node: Node | None
    missing: list[str]
    round: int


class KeyIn(_Sent):
    """Which file is meant."""

    key: Annotated[str, Field(min_length=1, max_length=1024)]


class SignedIn(KeyIn):
    """Which file was sent straight to the store."""

    token: Annotated[str, Field(max_length=MAX_TEXT)] = ""


class Part(_Answered):
    """Bytes of a file that are there."""

    start: int
    size: int


class Segment(Part):
    """Bytes that were appended to a growing file."""

    key: str
    modified: float


class End(_Answered):
    """How far a growing file is there without a gap."""

    end: int


class SignedRequest(_Answered):
    """A request to the store behind the server; as good as a password while it lasts."""

    method: Literal["GET", "PUT"]
    url: str
    headers: dict[str, str]
    start: int
    size: int


class SignedUpload(_Answered):
    """The requests that bring a file."""

    requests: list[SignedRequest]
    token: str


class ShareIn(_Sent):
    """Who may do what with a node."""

    path: Path
    kind: Literal["user", "group", "public"]
    name: Annotated[str, Field(max_length=255)] = ""
    level: Literal["view", "edit"]


class Share(_Answered):
    """A share."""

    path: str
    kind: Literal["user", "group", "public"]
    name: str
    level: Literal["view", "edit"]
    by: str
    created: str


class NewKeyIn(_Sent):
    """An API key to make."""

    note: Annotated[str, Field(max_length=255)] = ""
    expires: Annotated[datetime | None, Field(strict=False)] = None
    scope: Scope = "all"
    folder: Path | None = None


class ApiKey(_Answered):
    """An API key, without its text."""

    id: str
    note: str
    created: str
    expires: str | None
    revoked: str | None
    scope: Scope
    folder: str | None
    parent: str | None
    used: str | None


class NewApiKey(ApiKey):
    """An API key with its text, this once."""

    key: str


class UserIn(_Sent):
    """A user to add."""

    name: Name
    is_admin: bool = False


class UserChange(_Sent):
    """What becomes of a user."""

    disabled: bool


class User(_Answered):
    """A user."""

    name: str
    is_admin: bool
    disabled: bool
    created: str


class GroupIn(_Sent):
    """A group to add."""

    name: Name


class Group(_Answered):
    """A group of users."""

    name: str
    members: list[str]
