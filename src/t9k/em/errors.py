"""Every error that this library raises on purpose.

```text
EMError (RuntimeError)
├── InvalidInput (ValueError)         the caller's value cannot be used; nothing was changed
│   ├── InvalidName                   name of a run, artifact or folder
│   ├── InvalidKey                    key of an object
│   ├── InvalidURI                    backend URI
│   │   ├── UnknownScheme             no installed backend serves it
│   │   └── SecretInURI               credentials do not belong into a URI
│   ├── InvalidStrategy               conflict strategy
│   ├── InvalidMetric                 type, name, value, step or epoch
│   ├── InvalidHparams                hyperparameters that are no dict, and no config that has the form of one
│   ├── InvalidConfig                 run config or T9k config file
│   ├── KeyCollision                  two keys that some file system takes for one
│   └── SymlinkError                  a link out of its directory, dangling, or in a loop
│       └── NodeSymlinkError (LocalError)  a link in the directory of a run or artifact, which is not followed
├── LocalError                        the files on this machine
│   ├── NotALocalNode                 the directory holds neither a run nor an artifact
│   ├── CorruptLocalData              a file of a run or artifact cannot be understood
│   └── SourceChanged                 a file changed while it was read
├── NotFound (LookupError)            no such node, object or version
│   ├── FolderNotFound                the folder to upload into is missing
│   └── PathNotFound (FileNotFoundError)  no such file or directory in `Artifact.fs`
├── Conflict (FileExistsError)        the name is taken
│   ├── NameCollision                 taken by a name that differs only by case or Unicode form
│   └── Diverged                      the same run or artifact is there in a state that this copy does not know
├── NotLoggedIn                       no backend was chosen
├── BackendError                      the place that keeps the data
│   ├── BackendUnavailable            it did not answer, or said "later"; the outcome is unknown
│   │   └── RateLimited               too many requests
│   ├── BackendPermissionError (PermissionError)
│   │   └── NotAuthenticated          the API key is missing, malformed, unknown, revoked or expired
│   ├── RequestRefused                larger or stranger than the server takes
│   ├── BackendFull                   no space
│   │   └── QuotaExceeded             a user has as much as the server allows
│   ├── AlreadyExists (FileExistsError)  put-if-absent: an object is there
│   ├── UnsafeStore                   it cannot keep a record without overwriting another
│   ├── StoreGone                     the store that was there is not, or another one is in its place
│   ├── NewerStore                    its writers have to know what this version does not
│   ├── CommitUnknown                 whether the upload was published could not be learned
│   ├── UploadFenced                  the collector removed files of an upload paused for too long
│   ├── UploadForgotten               the server does not know this upload any more; begin it again
│   └── CorruptData                   bytes or records that are not what was uploaded
│       └── CorruptManifest           the record of a node or its list of files
├── UploadFailed                      some of several directories could not be uploaded
└── MissingExtra (ImportError)        an optional library is not installed
```
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AlreadyExists",
    "BackendError",
    "BackendFull",
    "BackendPermissionError",
    "BackendUnavailable",
    "CommitUnknown",
    "Conflict",
    "CorruptData",
    "CorruptLocalData",
    "CorruptManifest",
    "Diverged",
    "EMError",
    "FolderNotFound",
    "IncompleteWarning",
    "InvalidConfig",
    "InvalidHparams",
    "InvalidInput",
    "InvalidKey",
    "InvalidMetric",
    "InvalidName",
    "InvalidStrategy",
    "InvalidURI",
    "KeyCollision",
    "LocalError",
    "MissingExtra",
    "NameCollision",
    "NewerStore",
    "NodeSymlinkError",
    "NotALocalNode",
    "NotAuthenticated",
    "NotFound",
    "NotLoggedIn",
    "PathNotFound",
    "QuotaExceeded",
    "RateLimited",
    "RecoveredDataWarning",
    "RequestRefused",
    "SecretInURI",
    "SourceChanged",
    "StoreGone",
    "SymlinkError",
    "UnknownScheme",
    "UnsafeStore",
    "UploadFailed",
    "UploadFenced",
    "UploadForgotten",
]


class EMError(RuntimeError):
    """Root of all errors of this library; the message says what to do next."""


class InvalidInput(EMError, ValueError):
    """A value given by the caller cannot be used; nothing was changed."""


class InvalidName(InvalidInput):
    """A name that a run, artifact or folder cannot have."""


class InvalidKey(InvalidInput):
    """A key that an object cannot have."""


class InvalidURI(InvalidInput):
    """A URI that names no backend."""


class UnknownScheme(InvalidURI):
    """No installed backend serves the scheme of a URI."""


class SecretInURI(InvalidURI):
    """A URI holds credentials, which would end up in logs and files."""


class InvalidStrategy(InvalidInput):
    """A conflict strategy other than 'skip', 'error', 'new' and 'replace'."""


class InvalidMetric(InvalidInput):
    """A metric that cannot be logged: its type, name, value, step or epoch."""


class InvalidHparams(InvalidInput):
    """Hyperparameters that are no dict, and nothing that has the form of one."""


class InvalidConfig(InvalidInput):
    """A run config file or T9k config file that cannot be used."""


class KeyCollision(InvalidInput):
    """Two keys of one artifact that some file system takes for the same."""


class SymlinkError(InvalidInput):
    """A symbolic link that leaves its directory, dangles, loops, or stands in the way."""


class LocalError(EMError):
    """Something about the files of a run or artifact on this machine."""


class NodeSymlinkError(LocalError, SymlinkError):
    """A symbolic link in the directory of a run or artifact; it is never followed."""


class NotALocalNode(LocalError):
    """A directory that holds neither a run nor an artifact."""


class CorruptLocalData(LocalError):
    """A file of a local run or artifact cannot be understood."""


class SourceChanged(LocalError):
    """A file changed while it was read, so that its checksum means nothing."""


class NotFound(EMError, LookupError):
    """No such node, object or version."""


class FolderNotFound(NotFound):
    """The folder to upload into does not exist."""


class PathNotFound(NotFound, FileNotFoundError):
    """No such file or directory in the file system that shows an artifact."""


class Conflict(EMError, FileExistsError):
    """The name is taken by another node."""


class NameCollision(Conflict):
    """The name is taken by one that differs only by case or Unicode form."""


class Diverged(Conflict):
    """The newest version of the same run or artifact is not one that the uploaded copy comes from; `replace` overwrites it."""


class NotLoggedIn(EMError):
    """No backend was chosen by `login` or by a URI."""


class BackendError(EMError):
    """The place that keeps the data could not do what it was asked."""


class BackendUnavailable(BackendError):
    """The backend did not answer or asks to come later; a write may or may not have happened."""


class RateLimited(BackendUnavailable):
    """Too many requests in too short a time.

    Attributes:
        retry_after_s: When to ask again, in seconds from now.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[RateLimited], tuple[str, float]]:
        return type(self), (str(self), self.retry_after_s)


class BackendPermissionError(BackendError, PermissionError):
    """The backend refuses: no permission, or it is read-only."""


class NotAuthenticated(BackendPermissionError):
    """Who asks is not known: the API key is missing, malformed, unknown, revoked or expired.

    Attributes:
        reason: Why, as a code that stays: 'key_malformed', 'key_unknown', 'key_revoked', 'key_expired' or
            'user_disabled'; '' where that is not known.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[NotAuthenticated], tuple[str, str]]:
        return type(self), (str(self), self.reason)


class RequestRefused(BackendError):
    """A request that a server does not take: too large, or in a form that it does not know."""


class BackendFull(BackendError):
    """No space left where the data is kept, or a quota is reached."""


class QuotaExceeded(BackendFull):
    """A user has as many keys, shares, uploads in progress or stored bytes as the server allows."""


class AlreadyExists(BackendError, FileExistsError):
    """A conditional write found an object under its key, perhaps this writer's own."""


class UnsafeStore(BackendError):
    """The store cannot create a record without overwriting another writer's."""


class StoreGone(BackendError):
    """The store that was seen there is not there any more, or another one is; nothing is written to what is there now."""


class NewerStore(BackendError):
    """The store has a format, or a feature that its writers must know, of a later version of this library."""


class CommitUnknown(BackendError):
    """Whether an upload was published could not be learned; nothing was deleted."""


class UploadFenced(BackendError):
    """The collector removed files of an upload that was paused for too long."""


class UploadForgotten(BackendError):
    """The server does not know an upload any more, or never did; begun again, it goes on where it was."""


class CorruptData(BackendError):
    """Stored bytes are not those that were uploaded."""


class CorruptManifest(CorruptData):
    """The record of a node, or its list of files, is damaged or hostile."""


class UploadFailed(EMError):
    """Some of several directories could not be uploaded.

    Attributes:
        failures: Local directory -> what went wrong there.
    """

    def __init__(self, message: str, failures: Mapping[str, Exception]) -> None:
        super().__init__(message)
        self.failures = dict(failures)

    def __reduce__(self) -> tuple[type[UploadFailed], tuple[str, dict[str, Exception]]]:
        return type(self), (str(self), self.failures)


class MissingExtra(EMError, ImportError):
    """An optional library is not installed; the message names the extra."""


class RecoveredDataWarning(UserWarning):
    """A damaged tail of a local file was left out; everything before it was read."""


class IncompleteWarning(UserWarning):
    """Something could not be recorded: git, platform or output, or metrics that the disk refused; the run goes on."""
