"""Runs: the record of one training, kept in plain files while it goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from t9k.em import session
from t9k.em.artifact import Artifact
from t9k.em.containers import Params, upload_again, upload_nothing
from t9k.em.ending import shutdown
from t9k.em.ending.shutdown import check_timeout
from t9k.em.ending.status import RUNNING, check_end
from t9k.em.errors import InvalidMetric, LocalError, NotALocalNode, NotFound
from t9k.em.live.follower import GrowingFile
from t9k.em.local import below, layout, reentry
from t9k.em.local.below import Below
from t9k.em.local.files import append_all
from t9k.em.local.layout import DIFF, ERROR, GIT, HPARAMS, INDEX, LOG, METADATA, METRICS, PACKAGES, PLATFORM
from t9k.em.local.metriccalls import MISSING, corrected
from t9k.em.local.metricfiles import MetricFiles, encode_all
from t9k.em.local.metrics import encode_now
from t9k.em.local.shared import SharedMapping
from t9k.em.local.yamlwriter import dump
from t9k.em.marked import MarkedArtifacts
from t9k.em.metadata import associations_of, check_associations, mapping_of, text_of
from t9k.em.names import check_strategy, join, parent_and_name
from t9k.em.nodes import lineage
from t9k.em.nodes.local_node import LocalNode
from t9k.em.recording import Recording
from t9k.em.records import RUN, Body, Outcome, utc_text
from t9k.em.transfer.growing import catch_up
from t9k.em.transfer.sources import growing_body
from t9k.em.warn import warn_incomplete

if TYPE_CHECKING:
    import pyarrow as pa

    from t9k.ah.core import Branch, Commit, Dataset, Model, Tag
    from t9k.em.backend import Backend
    from t9k.em.capture import Capture
    from t9k.em.live.source import Destination
    from t9k.em.nodes import merging
    from t9k.em.transfer.progress import Progress

__all__ = ["Run"]


class Run(Recording):
    """A run of a specific model for certain ML task.

    A run is a directory of plain files from its first moment on. What `log` has returned from survives the end of the
    process, however it ends. With `with`, a run is finished at the end of the block, and its status is 'Failed'
    when the block raises; a run that nobody finished ends with the process, see `finish`. All methods may be called from any thread.

    Args:
        metadata: `name`, and optionally `labels`, `description`, `id`, `alternative_name`, `status`, `start_timestamp`,
            `end_timestamp` and `associations`.
        hparams: Hyperparameters of the Run, a dict or what has the form of one.
        metrics: Metrics of the Run: by type, a list of `{"value": {name: number}, "sequence": {"step": ..., ...}}`.
        platform: Platform information of the Run.
        git: Git information of the Run.

    Attributes:
        id: UUID; an upload of the same run again updates its node.
        name: Name of the Run.
        labels: Labels of the Run, list of str.
        description: Description of the Run.
        start_timestamp: When it was created, UTC: `2023-08-17T08:05:24.390002Z`.
        end_timestamp: When it was finished, UTC; '' before.
        status: 'Running', 'Complete', 'Failed', 'Pruned' or 'Preempted'.
        alternative_name: Unique name, which is also that of its directory, and under which the conflict strategy
            'new' uploads it when `name` is taken.
        associations: Resources that the run took in ('input') and put out ('output'), each a list of records.
        local: Local directory of the Run. One that was loaded from a backend has none while it is only looked at, and gets it when this
            is asked for; see `download`.

    Raises:
        InvalidName: `name` or `alternative_name` cannot be a name.
        InvalidHparams: `hparams` is no dict, and nothing that has the form of one.
        InvalidMetric: A metric is no number.
        InvalidInput: Other metadata has a wrong form.
        LocalError: The local directory cannot be made.
    """

    kind = RUN

    associations: dict[str, list[dict[str, str]]]
    _lists = {**LocalNode._lists, "associations": dict.fromkeys((lineage.INPUT, lineage.OUTPUT), lineage.identity)}  # noqa: SLF001, RUF012 - of a parent

    def __init__(
        self,
        metadata: Mapping[str, Any],
        hparams: object = None,
        metrics: Mapping[str, list[dict[str, Any]]] | None = None,
        platform: Mapping[str, Any] | None = None,
        git: Mapping[str, Any] | None = None,
    ) -> None:
        self._set_new_metadata(metadata)
        self._hparams = Params(self._save_hparams, hparams)
        lines = encode_all({} if metrics is None else metrics)
        with layout.new_directory(RUN, self.name, self.alternative_name or None) as directory:
            self._attach(directory)
            self._is_new = True
            self._save(platform=mapping_of(platform or {}, "platform"), git=mapping_of(git or {}, "git"))
            self._metrics.append_all(lines)
        self._is_new = False
        if self.status == RUNNING:
            self._begin()

    @classmethod
    def _open_directory(cls, directory: Path) -> Run:
        """Open the run in a local directory; change nothing there before something is logged.

        Raises:
            NotALocalNode: The directory is no run.
            CorruptLocalData: Its files cannot be understood.
        """
        run = cls.__new__(cls)
        with layout.understanding(directory):
            run._set_metadata(layout.read_metadata(directory, RUN))  # noqa: SLF001 - of this class
            run._hparams = Params(run._save_hparams, layout.read_mapping(Below(directory, HPARAMS), "hyperparameters"))  # noqa: SLF001 - of this class
            run._attach(directory)  # noqa: SLF001 - of this class
        run._shared.base = run._metadata()  # noqa: SLF001 - of this class
        run._shared_hparams.base = run._hparams.as_dict()  # noqa: SLF001 - of this class
        run._resumable = True  # noqa: SLF001 - of this class
        return run

    def __repr__(self) -> str:
        """Name, status, and local directory or where it was loaded from."""
        return f"Run(name={self.name!r}, status={self.status!r}, {self._where()})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the local directory, which is made on first use: in another process, a copy that logs there and ends nothing."""
        return _open_copy, (str(self._directory),)

    def __copy__(self) -> Run:
        """Return the run itself, as of a file or a logger: two of them could not be told apart on the disk."""
        return self

    def __deepcopy__(self, _: object) -> Run:
        """Return the run itself."""
        return self

    # What it holds.

    @property
    def hparams(self) -> Params:
        """Hyperparameters of the Run; see `t9k.em.containers.Params`."""
        return self._hparams

    @hparams.setter
    def hparams(self, value: object) -> None:
        self._hparams = Params(self._save_hparams, value)
        upload_again(self._hparams)

    @property
    def params(self) -> Params:
        """The same as `hparams`."""
        return self._hparams

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several hyperparameters: the same as `hparams.update`.

        Args:
            args: See `t9k.em.containers.Params.update`.
            kwargs: Likewise.
        """
        self._hparams.update(*args, **kwargs)

    @property
    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """Metrics produced in the Run, read from its files.

        By type, in the order of logging: `{"value": {name: number}, "sequence": {"epoch", "step", "timestamp"}}`.
        """
        return self._metrics.read()

    def metrics_table(self, type: str | None = None) -> pa.Table:
        """Give the metrics as a table of Arrow, for millions of them; needs `pip install 't9k-em[arrow]'`.

        `run.metrics_table().to_pandas()` is a DataFrame of pandas and `polars.from_arrow(run.metrics_table())` one of Polars; their
        extras are `t9k-em[pandas]` and `t9k-em[polars]`.

        Args:
            type: Only metrics of this type; all by default.

        Returns:
            A row for each call of `log`, type by type and in the order of logging. The columns: `type` (dictionary of strings), `step`,
            `epoch` (null where none was given; float64 if one is), `timestamp` (microseconds, UTC), and one for each metric, in the order of their
            first occurrence. A column of integers is int64, or float64 where one does not fit; other numbers are float64. Null where
            a row has no such metric. A metric called like one of the first four columns has `value.` before its name.

        Raises:
            MissingExtra: pyarrow is not installed.
            InvalidMetric: `type` is no type of metrics.

        Examples:
            >>> run = Run({"name": "cnn"})
            >>> run.log("train", {"loss": 0.5, "seen": 32}, step=1)
            >>> run.log("val", {"loss": 0.25}, step=1)
            >>> run.metrics_table().select(["type", "step", "loss", "seen"]).to_pylist()
            [{'type': 'train', 'step': 1, 'loss': 0.5, 'seen': 32}, {'type': 'val', 'step': 1, 'loss': 0.25, 'seen': None}]
            >>> run.metrics_table("val").column_names
            ['type', 'step', 'epoch', 'timestamp', 'loss']
        """
        from t9k.em.local.columns import read_table  # noqa: PLC0415 - the module that needs pyarrow

        return read_table(self._metrics.paths(type))

    @property
    def platform(self) -> dict[str, Any]:
        """Platform information of the Run: the machine, the user, the command line, and the ML packages in use."""
        self._wait()
        return layout.read_mapping(self._seen_at(PLATFORM), "platform information")

    @property
    def git(self) -> dict[str, Any]:
        """Git information of the Run: repository, branch, commit, whether dirty, untracked files, entry point; {} outside of one."""
        self._wait()
        return layout.read_mapping(self._seen_at(GIT), "git information")

    # Recording.

    def log(
        self, type: str, metrics: Mapping[str, float] = MISSING, step: int = MISSING, epoch: float | None = None
    ) -> None:
        """Log a set of metrics of Run.

        When this returns, the metrics survive the end of the process; a power cut loses at most the last second. What a full
        or failing disk does not take is lost, and the training goes on: an `IncompleteWarning` says so once, another one how
        much was lost when the disk takes metrics again, and `finish` says it again. Threads, children made by fork, and other
        processes that loaded the run on this machine may log at the same time.

        Args:
            type: Type of the metrics: 'train' (or 'training'), 'val' (or 'validate', 'validation'), 'test' (or
                'testing', 'eval', 'evaluate', 'evaluation'), or any other string.
            metrics: Numbers by name; has to be given. A number may be one of Python or NumPy, also NaN or infinite, or an array
                or tensor of one element. Any other value, such as None, a text, a masked value or a date, is left out, and an
                `IncompleteWarning` reports that once for each name.
            step: Number of the step that the metrics belong to; has to be given. Steps may come in any order.
            epoch: Number of the epoch that the metrics belong to; 0.5 is its half.

        Raises:
            InvalidMetric: `type`, `step` or `epoch` cannot be used, or the arguments are in another order; nothing was logged, and
                the message shows the right call.
        """
        if self._resumable:
            self._resume()
        files = self._metrics
        try:
            line = encode_now(metrics, step, epoch, files.left_out)
            if line:
                files.append(type, line)
        except InvalidMetric as error:
            raise corrected(error, type, metrics, step) from None

    def mark_input(self, resource: Artifact | Model | Dataset | Branch | Tag | Commit) -> None:
        """Mark an Artifact, Model or Dataset as an input of this Run.

        Args:
            resource: An Artifact, or a record of `t9k.ah.core`. Marking the same one again renews what is known of it.

        Raises:
            InvalidInput: The argument is no such resource.
        """
        self._mark(lineage.INPUT, resource)

    def mark_output(self, resource: Artifact | Model | Dataset | Branch | Tag | Commit) -> None:
        """Mark an Artifact, Model or Dataset as an output of this Run.

        Args:
            resource: An Artifact, or a record of `t9k.ah.core`. Marking the same one again renews what is known of it.

        Raises:
            InvalidInput: The argument is no such resource.
        """
        self._mark(lineage.OUTPUT, resource)

    def finish(self, *args: Any, timeout: float | None = None, status: str | None = None, **kwargs: Any) -> None:
        """End the Run: its status becomes 'Complete', or another one that is given, and everything is on disk.

        May be called more than once, also in a signal handler. With `auto_upload` the rest of the run is uploaded; if that does not
        end in time, a warning says what remains and the command that sends it. Nothing that happens to the disk or the network
        raises. In a child process made by fork, and for a run that was pickled, this ends nothing: that is up to the process that
        records the run.

        A run that nobody finished ends with the process: 'Complete' after a normal end, 'Failed' after an exception that nobody
        caught and after `sys.exit` with an error, and 'Preempted' after the signal SIGTERM where the program does not handle it.

        Args:
            args: Not used; the reference allows any.
            timeout: How many seconds to wait for the upload; by default what the environment variable
                `EM_FINISH_TIMEOUT` says, else as long as something is sent, and a minute more.
            status: 'Complete', 'Failed', 'Pruned' or 'Preempted'; by default 'Complete', or what it is if the run has ended.
            kwargs: Not used.

        Raises:
            InvalidInput: `timeout` is no number, or `status` none of a run that has ended; nothing was done.
        """
        del args, kwargs
        if timeout is not None:
            timeout = check_timeout(timeout)
        self._end(None if status is None else check_end(status), timeout)

    # The whole.

    def parse_from_dict(self, data: Mapping[str, Any]) -> None:
        """Take over what `to_dict` gave; all that this run held before is replaced.

        Args:
            data: `metadata`, and optionally `hparams`, `metrics`, `platform` and `git`.

        Raises:
            InvalidInput: A value in the dict has a wrong form; nothing was changed.
        """
        metadata = data.get("metadata", {})
        Run.__new__(Run)._set_new_metadata(metadata)  # noqa: SLF001 - of this class
        hparams = Params(self._save_hparams, data.get("hparams"))
        lines = encode_all(data.get("metrics", {}))
        platform, git = (mapping_of(data.get(name) or {}, name) for name in ("platform", "git"))
        dump([platform, git])
        self._settle()
        self._wait()
        with self._locks.changing:
            self._set_metadata(metadata)
            self.alternative_name = self.alternative_name or self._place.name
            self._hparams = hparams
            self._shared.replace()
            self._shared_hparams.replace()
            self._metrics.replace_all(lines)
            self._save(platform=platform, git=git)
        self._replaced += 1

    def to_dict(self) -> dict[str, Any]:
        """Give the run as a dict of JSON types, but for NaN and infinite numbers: the arguments of the constructor.

        Returns:
            `metadata`, `hparams`, `metrics`, `platform` and `git`.
        """
        return {
            "metadata": self._metadata(),
            "hparams": self._hparams.as_dict(),
            "metrics": self.metrics,
            "platform": self.platform,
            "git": self.git,
        }

    def download(self, path: str | None = None, *, progress: Progress | None = None) -> str:
        """Make the local directory of a Run that was loaded from a backend; of another one, only say where it is.

        Whatever needs the directory makes it too: the first change, such as `log`, `hparams["lr"] = 0.1`, `mark_input`, `save`,
        `finish` or `upload`, pickling, and `local`. What only reads, such as `metrics`, makes none.

        Args:
            path: The directory, which must not hold anything; by default a new one under `EM_RUN_PARENT_DIR`, or one there
                that holds the same.
            progress: Not used: `em.load_run` has fetched everything.

        Returns:
            The local directory, absolute.

        Raises:
            LocalError: The directory cannot be made, or the Run has another one already.
        """
        del progress
        if path is not None:
            layout.check_local(path, "the place of a download")
        wanted = None if path is None else Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow links
        self._settle(wanted)
        if wanted is not None and self._place != wanted:
            raise LocalError(f"the run {self.name!r} lies in {self._place} already; copy that directory to {wanted}")
        return str(self._place)

    def upload(self, folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new") -> None:
        """Upload this Run.

        Its input and output Artifacts that have not been uploaded to the same backend are uploaded before it, to the same
        Folder, and the run records where they are. A run may be uploaded while it goes on, and again later; where it ends by an
        exception or with the process, so that nobody can, it is uploaded once more by itself, with its last status.

        Args:
            folder: Path of the Folder to which the Run is uploaded. If it does not start with '/', `/<current-user>/` is
                prepended to it. A URI picks another backend for this call: `file:///data/em#/alice/mnist`.
            make_folder: If True and the Folder does not exist, make it and parent Folders as needed.
            conflict_strategy: What to do when another node in the Folder has the same name: 'skip' the upload; 'error'
                out; upload with the alternative name ('new'); or delete the existing Run and upload ('replace').

        Raises:
            NotLoggedIn: `folder` is a path and no backend was chosen.
            FolderNotFound: The folder does not exist.
            Conflict: The name is taken and the strategy is 'error'.
            BackendError: The backend could not take it; what was sent is not sent again by the next upload.
        """
        check_strategy(conflict_strategy)
        backend, path = session.resolve(folder)
        outcome, _ = self.send(backend, path, make_folder=make_folder, strategy=conflict_strategy)
        self._uploaded = None
        if self.status == RUNNING and outcome is not Outcome.SKIPPED:
            from t9k.em.live.source import Destination  # noqa: PLC0415 - few runs are uploaded while they go on
            from t9k.em.live.uploading import flush_all  # noqa: PLC0415 - likewise

            shutdown.flush_by(flush_all)  # what the upload at the end needs cannot be got ready then any more
            to = Destination(
                folder=f"{backend.uri}#{quote(path, safe='/@')}", make_folder=False, conflict_strategy="new"
            )
            self._uploaded = to, (backend, path)

    def _record(self, capture: Capture) -> None:
        """Let the platform, git and output information of this process be collected for the run.

        Args:
            capture: What collects; it is stopped when the run finishes.
        """
        self._capture = capture
        capture.start(self._directory)

    def _resume_with(self, capture: Capture) -> None:
        """Let the output of this process be recorded from the next `log` on.

        Args:
            capture: What records it.
        """
        self._capture = capture

    def _sample(self, period_s: float | None) -> None:
        """Let a thread log what the machine does, as metrics of type 'system', until the run finishes.

        Args:
            period_s: Seconds between two samples; None for none. A run that was loaded is sampled from the next `log` on.
        """
        if period_s is None:
            return
        from t9k.em.capture.system import TYPE, SystemMetrics  # noqa: PLC0415 - few runs need it

        self._system = SystemMetrics(
            period_s,
            self._directory,
            log=lambda values, step: self._metrics.append(TYPE, encode_now(values, step, None, self._metrics.left_out)),
            first=lambda: self._metrics.count(TYPE),
        )
        if not self._resumable:
            self._system.start()

    def _go_live(self, to: Destination, place: tuple[Backend, str] | None = None) -> None:
        """Upload the run from now on while it goes on, in a thread of its own; nothing of that ever raises here.

        Args:
            to: Where to.
            place: The backend and the path of the folder, where they are known already.
        """
        from t9k.em.live.source import RunSource  # noqa: PLC0415 - few runs need it
        from t9k.em.live.uploading import LiveUpload, Steps  # noqa: PLC0415 - likewise

        self._settle()
        self.destination = to
        steps = Steps()
        self._live = LiveUpload(
            RunSource(self, to, steps, place), steps, lambda fault: warn_incomplete(f"the run {self.name!r} {fault}")
        )
        self._live.start()

    def _fingerprint(self) -> Any:
        """All of the run but what grows, to be compared with what it was; where its artifacts are does not count."""
        metadata = self._metadata()
        associations = metadata.pop("associations")
        marked = {side: [record.get("id", record) for record in associations[side]] for side in associations}
        return metadata, marked, self._hparams.as_dict(), self._artifacts.changes(), self._replaced

    def _growing(self) -> list[GrowingFile]:
        """Return the files that are appended to, with how far they reach by now."""
        found = []
        for name in self._metrics.names().values():
            key = f"{METRICS}/{name}"
            status = below.status(self._at(key))
            if status is not None:  # else all metrics are being replaced
                found.append(GrowingFile(key=key, path=self._at(key), end=status.st_size))
        if below.is_file(self._at(LOG)):
            found.append(GrowingFile(key=LOG, path=self._at(LOG), end=self._finished_output()))
        return found

    def _sync(self) -> None:
        """Wait until everything logged so far would survive a power cut.

        Raises:
            LocalError: The disk is full or refuses.
        """
        self._metrics.sync()

    # Inside.

    def _finished_output(self) -> int:
        """Return the number of bytes of the log that never change any more: its last lines are written anew while they are printed."""
        status = below.status(self._at(LOG))
        size = 0 if status is None else status.st_size
        return size if self._capture is None else min(size, self._capture.finished_output(size))

    def _set_metadata(self, metadata: Mapping[str, Any]) -> None:
        associations = associations_of(mapping_of(metadata, "metadata"), (lineage.INPUT, lineage.OUTPUT))
        status, start, end = (text_of(metadata, name) for name in ("status", "start_timestamp", "end_timestamp"))
        super()._set_metadata(metadata)
        self.status = status or RUNNING
        self.start_timestamp, self.end_timestamp = start or utc_text(), end
        self.associations = associations

    def _move_to(self, directory: Path) -> None:
        self._metrics.close()
        super()._move_to(directory)
        self._open_metrics()

    def _open_metrics(self) -> None:
        index = layout.read_mapping(self._seen_at(INDEX), "index")
        types = mapping_of(index.get("metrics") or {}, "metrics of the index")
        self._metrics = MetricFiles(self._seen_at(METRICS), types, self._save_index)

    def _attach(self, directory: Path) -> None:
        super()._attach(directory)
        self._open_metrics()
        self._shared_hparams = SharedMapping("hyperparameters", lambda found: Params(upload_nothing, found).as_dict())
        self._artifacts = MarkedArtifacts(lambda: self._state, lambda: self._directory)
        self._pid = os.getpid()
        self._capture = None
        self._system = None
        self._resumable = False
        self._is_copy = False
        self._is_recorder = False
        self._replaced = 0
        self.destination = None
        self._uploaded = None
        self._live = None

    def _metadata(self) -> dict[str, Any]:
        return {
            **super()._metadata(),
            "status": self.status,
            "start_timestamp": self.start_timestamp,
            "end_timestamp": self.end_timestamp,
            "associations": {side: [dict(record) for record in self.associations[side]] for side in self.associations},
        }

    def _save(self, *, platform: Mapping[str, Any], git: Mapping[str, Any]) -> None:
        below.make_dirs(self._at(METRICS), durable=False)  # as durable as the index, below
        self._save_metadata()
        self._write_hparams()
        for name, data in ((PLATFORM, platform), (GIT, git)):
            if data:
                layout.write_mapping(self._at(name), dict(data))
            else:
                below.remove(self._at(name))
        self._save_index()

    def _hparams_now(self) -> dict[str, Any]:
        return self._hparams.as_dict()

    def _apply_merge(self, merge: merging.Merge) -> None:
        from t9k.em.nodes import merging  # noqa: PLC0415 - costs every importer otherwise, and copies rarely differ

        if LOG in merge.tails and self._capture is not None:
            raise merging.CannotMerge(LOG)  # what is printed here goes on
        for key, tail in merge.tails.items():
            with tail:
                append_all(self._directory, key, merging.chunks(tail))
        with self._locks.changing:
            for key, value in merge.hparams.items():
                if value is merging.MISSING:
                    self._hparams.pop(key, None)
                else:
                    self._hparams[key] = value
        self._write_hparams()
        super()._apply_merge(merge)
        self._save_index()

    def _apply_metadata(self, changed: Mapping[tuple[str, ...], Any]) -> None:
        super()._apply_metadata(changed)
        given = {path[1]: value for path, value in changed.items() if path[0] == "associations" and len(path) > 1}
        sides = associations_of({"associations": given}, given.keys() & self.associations.keys())
        self.associations.update(sides)

    @property
    def _may_look(self) -> bool:
        return self._live is None  # else a thread uploads: what the training holds must not be changed below its hands

    def _own_fields(self, mine: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the status that only the recording process knows, whatever others wrote."""
        is_own = self._is_recorder and self.status == RUNNING and not self._is_guest
        return {name: mine[name] for name in ("status", "end_timestamp")} if is_own else {}

    def _adopt(self, mine: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        sides = {side: list(records) for side, records in found["associations"].items()}
        super()._adopt(mine, {**found, "associations": mine["associations"]})
        self.associations.update(sides)

    def _index(self) -> dict[str, Any]:
        return {
            "hyperparameters": HPARAMS,
            "metrics": {kind: f"{METRICS}/{name}" for kind, name in self._metrics.names().items()},
            "platform": PLATFORM,
            "git": GIT,
            "packages": PACKAGES,
            "diff": DIFF,
            "log": LOG,
            "error": ERROR,
        }

    def _save_index(self) -> None:
        with self._writing():  # so that the one written last names every file
            self._learn_types()
            layout.write_mapping(self._seen_at(INDEX), self._index())

    def _learn_types(self) -> None:
        """Take over the types that others have logged and whose files do not tell them."""
        if not self._is_new and self._metrics.has_unknown():
            types = layout.read_mapping(self._seen_at(INDEX), "index").get("metrics")
            self._metrics.learn(types if isinstance(types, dict) else {})

    def _wait(self) -> None:
        """Let what is collected in the background arrive."""
        if self._capture is not None:
            self._capture.wait()

    def _mark(self, side: str, resource: object) -> None:
        if not isinstance(resource, (Artifact, lineage.Asset)):
            raise lineage.refuse(resource)
        reentry.alone(partial(self._mark_here, side, resource))

    def _mark_here(self, side: str, resource: Artifact | lineage.Asset) -> None:
        self._settle()
        record = lineage.artifact_record(resource) if isinstance(resource, Artifact) else lineage.asset_record(resource)
        with self._locks.changing:
            marked = lineage.with_record(self.associations[side], record)
            check_associations({**self.associations, side: marked})
            self.associations[side] = marked
        try:
            if isinstance(resource, Artifact):
                self._artifacts.add(resource)
            self._save_metadata()
        except (LocalError, OSError) as error:
            warn_incomplete(
                f"what the run {self.name!r} {side}s is not on the disk: {error}. It is written with the next change or at the end",
                6,
            )

    def _become_copy(self) -> None:
        """From now on, another process decides when the run goes on and ends; this logs to the same files."""
        self._resumable, self._is_copy = False, True

    def _catch_up(self, backend: Backend, folder: str, strategy: str) -> None:
        """Take over what was logged elsewhere since this copy was loaded from a run that goes on."""
        origin = self._state.get("origin", None)
        if origin is None or self._live is not None or strategy == "replace" or origin["uri"] != backend.uri:
            return
        if parent_and_name(origin["path"])[0] == folder:
            catch_up(backend, origin["path"], self.id, self._directory)

    def _prepare(
        self, backend: Backend, folder: str, *, make_folder: bool, strategy: str, progress: Progress | None
    ) -> None:
        """Upload the artifacts of the run that are not in the backend as they are now, and note where they are."""
        if self._capture is not None:
            self._capture.wait_for_all()
        if self._may_look:
            reentry.alone(partial(self._write_hparams, is_look=True))
            reentry.alone(partial(self._save_metadata, is_look=True))
        upload_again(self._hparams)
        self._catch_up(backend, folder, strategy)
        if strategy in ("skip", "error") and self._is_taken(backend, folder):
            return  # the run stays here, and so do its artifacts
        for artifact in self._artifacts.upload(
            backend,
            folder,
            make_folder=make_folder,
            strategy=strategy,
            progress=progress,
            run_name=self.name,
            is_recorded=partial(self._is_recorded_in, backend.uri),
        ):
            record = lineage.artifact_record(artifact, backend.uri)
            with self._locks.changing:
                for side, records in self.associations.items():
                    if any(known.get("id") == artifact.id for known in records):
                        self.associations[side] = lineage.with_record(records, record)

    def _is_taken(self, backend: Backend, folder: str) -> bool:
        try:
            return backend.stat(join(folder, self.name)).id != self.id
        except NotFound:
            return False

    def _is_recorded_in(self, uri: str, identity: str) -> bool:
        """Return whether the associations say where in a backend an artifact is."""
        records = [record for side in self.associations.values() for record in side]
        return any(record.get("id") == identity and record.get("uri") == uri for record in records)

    def _bodies(self) -> dict[str, Body]:
        bodies = {
            INDEX: Body.of(dump(self._index())),
            METADATA: Body.of(dump(self._metadata())),
            HPARAMS: Body.of(dump(self._hparams.as_dict())),
        }
        for name in (PLATFORM, GIT, PACKAGES, DIFF, ERROR):
            if below.is_file(self._at(name)):
                bodies[name] = Body.of(below.read(self._at(name)))
        for name in self._metrics.names().values():
            key = f"{METRICS}/{name}"
            bodies[key] = growing_body(self._at(key), whole_lines=True)
        if below.is_file(self._at(LOG)):
            bodies[LOG] = growing_body(self._at(LOG), whole_lines=False, end=self._finished_output())
        return bodies


def _open_copy(directory: str) -> Run:
    """Return a run that was pickled.

    Raises:
        NotALocalNode: Its directory is not here.
    """
    try:
        run = Run._open_directory(Path(directory))
    except NotALocalNode as error:
        raise NotALocalNode(
            f"a run travels to another process as its directory, and {directory} is not that of a run here; on another machine, "
            "pass what em.load_run takes: the path that it was uploaded to"
        ) from error
    run._become_copy()
    return run
