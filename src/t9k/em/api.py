"""What `from t9k import em` offers: create, load and upload runs and artifacts, log in and out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t9k.em import session
from t9k.em.artifact import Artifact
from t9k.em.capture import Capture
from t9k.em.capture.output import Output, check_output
from t9k.em.errors import EMError, InvalidConfig, InvalidInput, NotALocalNode, UploadFailed
from t9k.em.live.source import Destination
from t9k.em.loading import look_at_artifact, look_at_run
from t9k.em.local import layout
from t9k.em.names import check_strategy
from t9k.em.nodes.local_node import LocalNode
from t9k.em.nodes.run_config import read_run_config
from t9k.em.records import ARTIFACT, RUN
from t9k.em.run import Run
from t9k.em.settings import is_disabled
from t9k.em.uris import is_same_root, is_uri, parse
from t9k.em.warn import announce

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from t9k.em.transfer.checking.report import Report as CheckReport
    from t9k.em.transfer.mirroring.report import Report
    from t9k.em.transfer.progress import Progress


def create_run(
    config_path: str | None = None,
    name: str = "default",
    hparams: object = None,
    labels: Sequence[str] | None = None,
    description: str = "",
    auto_upload: bool = False,
    folder: str = "default",
    make_folder: bool = False,
    conflict_strategy: str = "new",
    *,
    folder_path: str | None = None,
    system_metrics: float | None = None,
    output: Output = "stream",
) -> Run:
    """Create and initialize a new Run.

    Its local files lie under the parent directory specified by the environment variable `EM_RUN_PARENT_DIR` (default is
    relative path `.em/runs`). What the process prints from now on is copied to its log. One line on stderr says where that is, unless
    the environment variable `EM_SILENT` is 1; in distributed training, where another rank than 0 creates a run, nothing does.

    Args:
        config_path: Local path of the Run config file, YAML with any of the other arguments, whose values take
            precedence over values passed in.
        name: Name of the Run.
        hparams: Initial hyperparameters of the Run: a dict, or a config that has the form of one; see `t9k.em.containers.Params`.
        labels: Labels of the Run.
        description: Description of the Run.
        auto_upload: Whether to upload the Run by itself, while it goes on; a thread does it, and nothing of it raises or waits in
            the training. If False, `folder`, `make_folder` and `conflict_strategy` will not be used.
        folder: Path of the Folder to which the Run is uploaded; see `Run.upload`.
        make_folder: If True and the Folder does not exist, make it and parent Folders as needed.
        conflict_strategy: 'skip', 'error', 'new' or 'replace'; see `Run.upload`.
        folder_path: Another name of `folder`, which the reference's examples use.
        system_metrics: Seconds between two samples of processor, memory, disk, network and NVIDIA GPUs, which are
            logged as metrics of type 'system'; None for none. Needs `pip install 't9k-em[system]'`.
        output: What is copied to the log: 'stream' for what Python writes to stdout and stderr; 'fd' also for what child processes and C
            libraries print to the descriptors 1 and 2, by a helper process; 'off' for nothing.

    Returns:
        A Run instance created and initialized.

    Raises:
        InvalidConfig: The config file cannot be used.
        InvalidName: `name` cannot be the name of a run.
        InvalidHparams: `hparams` is no dict, and nothing that has the form of one.
        InvalidStrategy: The conflict strategy is unknown.
        InvalidInput: `system_metrics` is no positive number, or `output` is unknown.
        LocalError: The local directory cannot be made.

    Examples:
        >>> run = create_run(name="cnn_keras", hparams={"batch_size": 32})
        >>> run.log(type="train", metrics={"loss": 0.5}, step=1)
        >>> run.finish()
        >>> run.status
        'Complete'
    """
    given: dict[str, Any] = {
        "name": name,
        "hparams": hparams,
        "labels": labels,
        "description": description,
        "auto_upload": auto_upload,
        "folder": folder if folder_path is None else folder_path,
        "make_folder": make_folder,
        "conflict_strategy": conflict_strategy,
        "system_metrics": system_metrics,
        "output": output,
    }
    if config_path is not None:
        given |= read_run_config(Path(config_path))
    check_strategy(given["conflict_strategy"])
    destination = _destination(given) if given["auto_upload"] else None
    period_s = _period(given["system_metrics"])
    capture = Capture(check_output(given["output"]))
    run = Run({key: given[key] for key in ("name", "labels", "description")}, hparams=given["hparams"])
    announce(_where(run, destination))  # before the output is recorded
    run._record(capture)
    run._sample(period_s)
    if destination is not None:
        run._go_live(destination)
    return run


def load_run(
    path: str,
    auto_upload: bool = False,
    folder: str = "default",
    make_folder: bool = False,
    conflict_strategy: str = "new",
    *,
    system_metrics: float | None = None,
    output: Output = "stream",
) -> Run:
    """Load a Run from local or server.

    The local directory is searched first, then the remote path. A run that is loaded goes on by logging to it. One from a backend can be
    looked at without leaving anything: it gets a local directory by `Run.download`, by its first change, or when its `local` is asked for.

    Args:
        path: Local directory of the Run, or path of the Run in server. A remote path that does not start with '/' has
            `/<current-user>/` prepended to it; 'path@3' is its third version. A URI with a fragment names another backend:
            `file:///data/em#/alice/default/mnist`.
        auto_upload: Whether to upload the Run by itself, while it goes on; a thread does it, and nothing of it raises or waits in
            the training. If False, `folder`, `make_folder` and `conflict_strategy` will not be used.
        folder: Path of the Folder to which the Run is uploaded; see `Run.upload`.
        make_folder: If True and the Folder does not exist, make it and parent Folders as needed.
        conflict_strategy: 'skip', 'error', 'new' or 'replace'; see `Run.upload`.
        system_metrics: Seconds between two samples of processor, memory, disk, network and NVIDIA GPUs, from the next `log` on, which are
            logged as metrics of type 'system'; None for none. Needs `pip install 't9k-em[system]'`.
        output: What is copied to the log from the next `log` on; see `create_run`.

    Returns:
        A Run instance loaded.

    Raises:
        RuntimeError: The path is found in neither location (`NotFound`, or `NotLoggedIn` when there is no backend), or
            what is there cannot be read (`LocalError`, `BackendError`).
    """
    check_strategy(conflict_strategy)
    period_s = _period(system_metrics)
    capture = Capture(check_output(output))
    path = session.text_of_place(path)
    if is_disabled():
        from t9k.em.disabled import run_called  # noqa: PLC0415 - seldom needed

        return run_called(path)
    local = _local_directory(path, RUN)
    run = Run._open_directory(local) if local else look_at_run(*session.locate(path))
    run._resume_with(capture)
    run._sample(period_s)
    if auto_upload:
        run._go_live(
            _destination({"folder": folder, "make_folder": make_folder, "conflict_strategy": conflict_strategy})
        )
    return run


def create_artifact(name: str, labels: Sequence[str] | None = None, description: str = "") -> Artifact:
    """Create and initialize a new Artifact.

    Its local files lie under the parent directory specified by the environment variable `EM_ARTIFACT_PARENT_DIR` (default is
    relative path `.em/artifacts`).

    Args:
        name: Name of the Artifact.
        labels: Labels of the Artifact.
        description: Description of the Artifact.

    Returns:
        An Artifact instance created and initialized.

    Raises:
        InvalidName: `name` cannot be the name of an artifact.
        LocalError: The local directory cannot be made.

    Examples:
        >>> artifact = create_artifact(name="tensorboard_logs")
        >>> artifact.objects
        []
    """
    return Artifact({"name": name, "labels": labels, "description": description})


def load_artifact(path: str) -> Artifact:
    """Load an Artifact from local or server.

    The local directory is searched first, then the remote path. From a backend only the metadata comes at once;
    `Artifact.get`, `open` and `download` fetch the objects. There is no local directory before an object is fetched into it, something is
    changed, or `local` is asked for.

    Args:
        path: Local directory of the Artifact, or path of the Artifact in server; see `load_run`.

    Returns:
        An Artifact instance loaded.

    Raises:
        RuntimeError: See `load_run`.
    """
    path = session.text_of_place(path)
    if is_disabled():
        from t9k.em.disabled import artifact_called  # noqa: PLC0415 - seldom needed

        return artifact_called(path)
    local = _local_directory(path, ARTIFACT)
    return Artifact._open_directory(local) if local else look_at_artifact(*session.locate(path))


def login(ais_host: str | None = None, api_key: str | None = None, timeout: int | None = None) -> None:
    """Log in to AIStore server, or choose another backend.

    Sets up the client that corresponds with it.

    Args:
        ais_host: URL of AIStore server, or URI of another backend such as 'file:///data/em'. Defaults to
            `t9k.CONFIG['aistore_host']`, as does ''.
        api_key: API Key for requesting server. Defaults to `t9k.CONFIG['api_key']` if that belongs to this server: a key is
            never sent to another one. Backends without accounts ignore it.
        timeout: How many seconds to wait for server to send data before giving up.

    Raises:
        requests.HTTPError: Unable to connect to the server.
        InvalidURI: `ais_host` names no backend, or none that is installed.
        InvalidInput: Neither `ais_host` nor the T9k config names a server.
    """
    if is_disabled():
        return
    from t9k import CONFIG  # noqa: PLC0415 - the config file is read only when it is needed

    host = ais_host or CONFIG["aistore_host"]
    if not host:
        raise InvalidInput(
            "no backend to log in to; pass ais_host='file:///data/em', or put aistore_host into the T9k config file"
        )
    host = session.text_of_place(host)
    session.login(host, api_key=api_key or _key_of(host), timeout_s=timeout)


def _key_of(host: str) -> str | None:
    """Return the API key that the T9k config has for a host."""
    from t9k import CONFIG  # noqa: PLC0415 - the config file is read only when it is needed

    try:
        key: str | None = CONFIG["api_key"] if is_same_root(host, CONFIG["aistore_host"]) else None
    except InvalidConfig:  # no key can be read; only a server certainly asks for one
        if parse(host).scheme in ("http", "https"):
            raise
        return None
    return key


def logout() -> None:
    """Log out from the current AIStore server, or leave the backend that was chosen.

    The client is unset; it can no longer correspond with it until it is set up again.
    """
    session.logout()


def upload(path: str, folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new") -> None:
    """Upload local Runs or Artifacts.

    Args:
        path: Local directory of the Run or Artifact to be uploaded, or parent directory that contains one or more of them.
            One that fails does not stop the others.
        folder: Path of the Folder to which they are uploaded; see `Run.upload`.
        make_folder: If True and the Folder does not exist, make it and parent Folders as needed.
        conflict_strategy: 'skip', 'error', 'new' or 'replace'; see `Run.upload`.

    Raises:
        NotALocalNode: `path` is neither a run, nor an artifact, nor does it contain one.
        UploadFailed: Some of several could not be uploaded; its `failures` say which and why.
        EMError: The only one could not be uploaded; see `Run.upload`.
    """
    check_strategy(conflict_strategy)
    directory = Path(session.text_of_place(path))
    if is_disabled():
        return
    if layout.kind_of(directory) is not None:
        open_local(directory).upload(folder, make_folder, conflict_strategy)
        return
    failures: dict[str, Exception] = {}
    children = local_nodes(directory)
    for child in children:
        try:
            open_local(child).upload(folder, make_folder, conflict_strategy)
        except (EMError, OSError) as error:
            failures[str(child)] = error
    if failures:
        reasons = "".join(f"\n  {name}: {error}" for name, error in failures.items())
        raise UploadFailed(f"{len(failures)} of {len(children)} could not be uploaded:{reasons}", failures)


def mirror(
    source: str,
    target: str,
    *,
    dry_run: bool = False,
    delete: bool = False,
    max_delete: int | str | None = None,
    history: bool = True,
    verify: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Report:
    """Make a folder, or a whole store, like another one; or bring one Run or Artifact into a Folder.

    What the target has already is not sent again, so that the same call again sends what has changed since, or what was
    not sent when it was interrupted. Between two places in stores of one service the bytes do not pass through here
    where that service copies by itself.

    Kept are ids, names, metadata, files, and the order of the versions. Not kept are generation numbers, times of
    publication, who uploaded, and ids of Folders. A Run goes on naming its inputs and outputs by id, URI and path as it did;
    see the `outside` of the report for those that are not among what was mirrored.

    A node of the source comes on top of another one of that name in the target, whose versions stay readable. Nodes that only
    the target has stay there unless `delete` is given. What was deleted in the source before the target had it is not
    sent; a version that was collected in the source is left out. Somebody may write to the source meanwhile: each node
    is mirrored as it was at one moment.

    Args:
        source: Path or URI of a Folder, Run or Artifact; 'file:///data/em' and '/' mean a whole store, with the folders
            of all users.
        target: Path or URI of a Folder. It becomes like `source` if that is a Folder, and is where a Run or Artifact goes.
            It is made when it is missing.
        dry_run: Whether to change nothing and only report what would be done.
        delete: Whether to delete in the target what the source does not have, within the target Folder only. Versions
            stay readable until they are collected. Nothing is deleted in a folder of which the source shows only a part.
        max_delete: How many Runs and Artifacts `delete` may delete, such as 40, or which share of those in the target, such as
            '50%'; otherwise nothing is done. By default 10 or 25 %, whichever is more.
        history: Whether to mirror all versions, the oldest first, with the deletions between them; otherwise only the newest.
        verify: Whether to look also at what the last call found equal, and to read the bytes of the newest versions in the target;
            what is missing or damaged there is sent again.
        executor: A `concurrent.futures.Executor` to do the work, such as `Client.get_executor()` of Dask. Its workers
            open source and target by their URIs and find credentials by themselves. By default threads do it.
        progress: Receives the progress.

    Returns:
        What was done, or would be: a `Report`, with one digest over all that was compared. What could not be mirrored does not
        stop the rest, raises nothing, and is in its `problems`.

    Raises:
        NotFound: `source` does not exist; or with `delete`, nothing at all is in it, as in a store that was not meant.
        InvalidInput: A path is a version, or one of the two lies in the other; or more than `max_delete` would be deleted.
        BackendError: One of the stores cannot be used.

    Examples:
        >>> create_artifact(name="model").upload("memory://doc-mirror#models", make_folder=True)
        >>> report = mirror("memory://doc-mirror", "memory://doc-mirror-copy")
        >>> report.complete, len(report.nodes)
        (True, 1)
        >>> mirror("memory://doc-mirror", "memory://doc-mirror-copy").digest == report.digest
        True
    """
    if is_disabled():
        from t9k.em.transfer.mirroring.report import Report  # noqa: PLC0415 - a training needs none of it

        return Report(source=source, target=target, applied=False, entries=())
    return mirror_stores(
        source,
        target,
        dry_run=dry_run,
        delete=delete,
        max_delete=max_delete,
        history=history,
        verify=verify,
        executor=executor,
        progress=progress,
    )


def mirror_stores(
    source: str,
    target: str,
    *,
    dry_run: bool = False,
    delete: bool = False,
    max_delete: int | str | None = None,
    history: bool = True,
    verify: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Report:
    """Do what `mirror` does, whatever `EM_MODE` says, as the command does."""
    from t9k.em.transfer.mirroring.deletions import MaxDelete  # noqa: PLC0415 - a training needs none of it
    from t9k.em.transfer.mirroring.mirror import Side, run_mirror  # noqa: PLC0415
    from t9k.em.transfer.mirroring.nodes import Options  # noqa: PLC0415

    def side(place: str) -> Side:
        text = session.text_of_place(place)
        whole = is_uri(text) and parse(text).folder is None
        full = f"{text.rstrip('#')}#/" if whole else text
        backend, path = session.resolve(full)
        return Side(backend=backend, uri=session.root(full), path=path)

    limit = MaxDelete.of(max_delete)
    options = Options(history=history, delete=delete, max_delete=limit, apply=not dry_run)
    return run_mirror(side(source), side(target), options, verify=verify, executor=executor, progress=progress)


def check(
    place: str,
    *,
    sample: str | int | None = None,
    older_than: float = 0.0,
    repair: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Read a store, a Folder, or a Run or Artifact again, and say what is not as it was uploaded.

    All records and lists of files are read, and all files looked for that a readable version needs. Others may read and
    write meanwhile. Through a server, what the user may read is checked.

    Args:
        place: Path or URI; 'file:///data/em' and '/' mean a whole store, 'path@3' one version.
        sample: Of which files the bytes are read: a share like '5%', a number, or a part like '3/20', with which all
            parts together are all files. None for all.
        older_than: Read only the bytes of versions that were published longer ago than so many seconds.
        repair: Whether to fix what can be fixed: a damaged newest record by going back to the version before, files
            of which others have the same bytes, folders and listings.
        progress: Receives the progress.

    Returns:
        What was found, and what was done about it.

    Raises:
        NotFound: No such place exists.
        InvalidInput: `sample` has another form; or `repair` of the store of a server, which only its operator can repair.
        BackendError: The store cannot be used.

    Examples:
        >>> create_artifact(name="model").upload("memory://doc-check#models", make_folder=True)
        >>> report = check("memory://doc-check")
        >>> report.is_whole, report.nodes
        (True, 1)
    """
    from t9k.em.transfer.checking.check import Options, run_check  # noqa: PLC0415
    from t9k.em.transfer.checking.report import Report  # noqa: PLC0415 - a training needs none of it
    from t9k.em.transfer.checking.sample import Sample  # noqa: PLC0415

    options = Options(sample=Sample.of(sample), older_than_s=older_than, repair=repair)
    if is_disabled():
        return Report(place=place)
    text = session.text_of_place(place)
    whole = is_uri(text) and parse(text).folder is None
    backend, path = session.resolve(f"{text.rstrip('#')}#/" if whole else text)
    return run_check(backend, path, options, place=f"{backend.uri}#{path}", progress=progress)


def open_local(directory: Path) -> Run | Artifact:
    """Open the run or artifact in a local directory.

    Raises:
        NotALocalNode: The directory is neither a run nor an artifact.
        CorruptLocalData: Its files cannot be understood.
    """
    if layout.kind_of(directory) == RUN:
        return Run._open_directory(directory)
    return Artifact._open_directory(directory)


def local_nodes(parent: Path) -> list[Path]:
    """Return the directories in a directory that look like runs or artifacts, damaged ones included, by name.

    Raises:
        NotALocalNode: The directory holds no run or artifact.
    """
    found = layout.nodes(parent)
    if not found:
        raise NotALocalNode(
            f"{parent} is neither a run nor an artifact, and contains none; give a directory like .em/runs or one in it"
        )
    return found


def _local_directory(path: str, kind: str) -> Path | None:
    directory = Path(path)
    return directory if layout.kind_of(directory) == kind else None


def _destination(given: Mapping[str, Any]) -> Destination:
    return Destination(
        folder=session.check_place(given["folder"]),
        make_folder=given["make_folder"],
        conflict_strategy=given["conflict_strategy"],
    )


def _where(run: Run, destination: Destination | None) -> str:
    if is_disabled():
        return "nothing of this run is kept, for EM_MODE is 'disabled'"
    uploaded = "" if destination is None else f" and is uploaded to {destination.describe()}"
    return f"this run goes to {run.local}{uploaded}; look at it with: {shlex.join(['em', 'show', run.local])}"


def _period(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidInput(
            f"system_metrics must be the seconds between two samples, such as 5.0, or None, not {value!r}"
        )
    return float(value)


def _stand_in(kept: type[LocalNode]) -> type[LocalNode]:
    from t9k.em.disabled import stand_in  # noqa: PLC0415 - seldom needed

    return stand_in(kept)


LocalNode._stand_in = _stand_in  # noqa: SLF001 - what is above `LocalNode` it cannot import
