"""How a run goes on and ends, in its directory, its capture and its upload, and the record of its error."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from t9k.em.containers import Params, held, take_over, upload_again
from t9k.em.ending import failure, shutdown
from t9k.em.ending.status import COMPLETE, RUNNING
from t9k.em.errors import InvalidInput, LocalError
from t9k.em.local import below, layout, recorder, reentry
from t9k.em.local.files import write_all
from t9k.em.local.layout import ERROR, HPARAMS, LOG
from t9k.em.nodes.local_node import LocalNode
from t9k.em.records import utc_text
from t9k.em.warn import warn_incomplete

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from t9k.em.backend import Backend
    from t9k.em.capture import Capture
    from t9k.em.capture.system import SystemMetrics
    from t9k.em.live.source import Destination
    from t9k.em.live.uploading import LiveUpload
    from t9k.em.local.metricfiles import MetricFiles
    from t9k.em.local.shared import SharedMapping

_TAIL_BYTES = 1 << 16


class Recording(LocalNode):
    """A run with respect to its end; `Run` is the whole.

    Nothing here raises because of the disk or the network: failures are reported as warnings. Everything may be called in a signal
    handler or finalizer, see `t9k.em.local.reentry`.
    """

    status: str
    start_timestamp: str
    end_timestamp: str
    destination: Destination | None

    _uploaded: tuple[Destination, tuple[Backend, str]] | None
    """Where a call of `upload` sent it while it went on."""

    _hparams: Params
    _shared_hparams: SharedMapping
    _metrics: MetricFiles
    _capture: Capture | None
    _system: SystemMetrics | None
    _live: LiveUpload | None
    _resumable: bool
    _is_copy: bool
    _is_recorder: bool
    """Whether this object says when the run ends; another one may log to it meanwhile."""
    _is_unsettled_told = False
    _pid: int

    def __enter__(self) -> Self:
        """Return the run itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the run; its status says how the block ended, see `finish`. One that was only looked at stays as it is."""
        if not self._has_directory:
            return
        if error is not None:
            self._upload_again()
        try:
            self._end(None if error is None else failure.status_of(error), error=error)
        except InvalidInput as problem:
            if error is None:
                raise
            warn_incomplete(
                f"the run {self.name!r} could not be finished: {problem}; what it logged is in {self.local}", 3
            )

    @property
    def error(self) -> dict[str, Any]:
        """The exception that ended the run: `type`, `message` and `traceback`; {} when none did."""
        return layout.read_mapping(self._seen_at(ERROR), "error")

    # When the process leaves.

    def _leave(self, status: str, error: BaseException | None) -> None:
        """See `t9k.em.ending.shutdown.GoesOn`."""
        shutdown.done(self)
        if self._is_guest or not self._directory.is_dir():
            return
        try:
            self._end_here(status, error, is_forced=False)
        except Exception as problem:  # noqa: BLE001 - nobody is left to catch it, and other runs have to end too
            warn_incomplete(
                f"the run {self.name!r} could not be finished: {problem}; what it logged is in {self.local}"
            )

    def _leave_backend(self, timeout_s: float) -> None:
        """See `t9k.em.ending.shutdown.GoesOn`."""
        if self._is_guest:
            return
        self._upload_again()
        live = self._live
        if live is None or self.destination is None:
            return
        if timeout_s <= 0:
            live.finish(0.0)
        else:
            self._finish_live(live, self.destination, timeout_s)

    # Going on.

    def _begin(self) -> None:
        """Note that this process records the run."""
        self._is_recorder = True
        with contextlib.suppress(LocalError, OSError):  # what matters more tells of the disk
            recorder.note(self._directory)
        shutdown.expect(self)

    def _resume(self) -> None:
        """Continue a run that was loaded."""
        reentry.alone(self._resume_here)

    def _resume_here(self) -> None:
        with self._locks.changing:
            if not self._resumable or not self._can_settle():
                return
            self._resumable = False
            is_elsewhere = self.status == RUNNING and recorder.is_alive(self._directory)
            if self.status != RUNNING:
                self.status, self.end_timestamp = RUNNING, ""
                try:
                    below.remove(self._at(ERROR))
                    self._save_metadata()
                except (LocalError, OSError) as error:
                    warn_incomplete(f"the run {self.name!r} goes on, but on the disk it still has ended: {error}", 5)
        if not is_elsewhere or recorder.is_this_process(self._directory):
            self._begin()
        if self._capture is not None:
            self._capture.start_output(self._directory)
        if self._system is not None:
            self._system.start()

    def _can_settle(self) -> bool:
        """Make the local directory; where that fails, what is logged stays in the temporary one, and the next `log` tries again."""
        try:
            self._settle()
        except (LocalError, OSError) as error:
            if not self._is_unsettled_told:
                self._is_unsettled_told = True
                warn_incomplete(
                    f"the run {self.name!r} has no local directory yet: {error}. Until there is one, which each `log` tries, what it "
                    f"logs lies in {self._place} and goes with the process",
                    6,
                )
            return False
        return True

    # The end.

    @property
    def _is_guest(self) -> bool:
        """Whether another process records the run: this is a child made by fork, or a copy that was unpickled."""
        return self._is_copy or os.getpid() != self._pid

    def _end(self, status: str | None, timeout_s: float | None = None, error: BaseException | None = None) -> None:
        """End the run here and in its backend.

        Args:
            status: What it becomes; None for 'Complete' if it has not ended yet.
            timeout_s: How long to wait for the upload.
            error: The exception that ends it.

        Raises:
            InvalidInput: An attribute was set to something that it cannot be; all else was done.
        """
        if reentry.is_inside():
            reentry.later(partial(self._end, status, timeout_s, error))
            return
        if self._is_guest:
            self._metrics.close()
            return
        shutdown.done(self)
        try:
            reentry.alone(partial(self._end_here, status or COMPLETE, error, is_forced=status is not None))
        finally:
            self._end_there(timeout_s)

    def _end_here(self, status: str, error: BaseException | None, *, is_forced: bool) -> None:
        if not self._can_settle():
            self._stop_capture()
            return
        with contextlib.suppress(InvalidInput, LocalError, OSError):  # which is told when it is written
            self._save_metadata(is_look=True)
        with self._locks.changing:
            self._resumable = False
            if self.status == RUNNING:
                self.status, self.end_timestamp = status, utc_text()
            elif is_forced:
                self.status, self.end_timestamp = status, self.end_timestamp or utc_text()
        if not self._directory.is_dir():
            self._stop_capture()
            warn_incomplete(
                f"the run {self.name!r} could not be finished: its directory {self.local} is gone, so nothing of it is kept here",
                5,
            )
            return
        steps: list[Callable[[], object]] = [
            self._stop_capture,
            self._metrics.close,
            partial(self._keep_error, error),
            self._write_hparams,
            self._save_metadata,
        ]
        faults = [fault for step in steps if (fault := _fault_of(step)) is not None]
        invalid = [fault for fault in faults if not isinstance(fault, (LocalError, OSError))]
        others = [str(fault) for fault in faults if isinstance(fault, (LocalError, OSError))]
        if others:
            warn_incomplete(
                f"the run {self.name!r} could not be finished completely: {'; '.join(others)}. What is kept of it is in "
                f"{self.local}; call finish() again when that is fixed",
                5,
            )
        if invalid:
            raise invalid[0]

    def _stop_capture(self) -> None:
        if self._system is not None:
            self._system.stop()
        if self._capture is not None:
            self._capture.stop()

    def _keep_error(self, error: BaseException | None) -> None:
        if error is None or failure.status_of(error) != self.status or self.status not in failure.WITH_ERROR:
            return
        kept = failure.described(error)
        layout.write_mapping(self._at(ERROR), kept)
        last = str(kept["traceback"]).rstrip("\n").rpartition("\n")[2].encode()
        with below.stream(self._at(LOG), os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
            if last not in tail:  # else the interpreter has shown it already
                newline = "" if not tail or tail.endswith(b"\n") else "\n"
                write_all(file.fileno(), f"{newline}{kept['traceback']}".encode())

    def _save_hparams(self, _: Mapping[str, Any]) -> None:
        """Write the hyperparameters; `Params` calls this after every change."""
        if reentry.is_inside():
            reentry.later(lambda: upload_again(self._hparams))
        else:
            reentry.alone(self._keep_hparams)

    def _keep_hparams(self) -> None:
        try:
            self._write_hparams()
        except (LocalError, OSError) as error:
            warn_incomplete(
                f"the hyperparameters of the run {self.name!r} are not on the disk: {error}. The run goes on, and they are written with "
                "their next change or at its end",
                7,
            )

    def _write_hparams(self, *, is_look: bool = False) -> None:
        """Write the hyperparameters as `_save_metadata` writes the metadata."""
        params = self._hparams
        with held(params):  # what is older never replaces what is newer
            path, mine = self._at(HPARAMS), params.as_dict()
            if self._shared_hparams.is_changed(mine):
                with self._writing():
                    found = self._shared_hparams.write(path, mine)
            elif is_look:
                found = self._shared_hparams.look(path, mine)
            else:
                return
            if found is not mine:
                take_over(params, mine, found)

    def _upload_again(self) -> None:
        """Have a run that was uploaded while it went on uploaded once more, now that nobody can do so after its end."""
        if self._uploaded is not None and self.destination is None and not self._is_guest:
            self._go_live(*self._uploaded)

    def _end_there(self, timeout_s: float | None) -> None:
        if self.destination is None:
            return
        if self._live is None or self._live.has_stopped:
            self._go_live(self.destination)
        if self._live is None or self._live.has_stopped:
            self._upload_at_end(self.destination)
        else:
            self._finish_live(self._live, self.destination, timeout_s)

    def _finish_live(self, live: LiveUpload, to: Destination, timeout_s: float | None) -> None:
        remains = live.finish(shutdown.timeout_s() if timeout_s is None else timeout_s)
        if remains is None:
            self._live = None  # what is logged after the end is uploaded as a whole by the next `finish`
        else:
            warn_incomplete(
                f"the run {self.name!r} is not uploaded completely: {remains}. All of it is in {self.local}; "
                f"send what remains with: {to.command(self._directory)}",
                5,
            )

    def _upload_at_end(self, to: Destination) -> None:
        try:
            self._upload(to.folder, make_folder=to.make_folder, strategy=to.conflict_strategy)
        except Exception as error:  # noqa: BLE001 - a training that has ended well must not fail here
            warn_incomplete(
                f"the run {self.name!r} was not uploaded: {error}. All of it is in {self.local}; "
                f"upload it later with: {to.command(self._directory)}",
                5,
            )

    @abstractmethod
    def _go_live(self, to: Destination, place: tuple[Backend, str] | None = None) -> None:
        """Upload the run from now on while it goes on."""


def _fault_of(step: Callable[[], object]) -> Exception | None:
    """Take a step of an end, whatever happens in it."""
    try:
        step()
    except (InvalidInput, LocalError, OSError) as error:
        return error
    return None
