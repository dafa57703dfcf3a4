"""Rounds of uploading a run, with a clock of their own and without a thread."""

from __future__ import annotations

from collections import Counter

import pytest

from t9k import em
from t9k.em.live.rounds import Rounds
from t9k.em.live.source import Destination, RunSource
from t9k.em.live.uploading import Steps
from t9k.em.session import resolve
from t9k.em.testing import read_node
from t9k.em.testing.reference import ReferenceBackend
from t9k.em.testing.wrappers import StoreWrapper
from t9k.em.transfer.growing import last_sign

HOUR_S = 3600
FOLDER = "memory://rounds#/alice/live"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting(StoreWrapper):
    """Counts what is written but for artifacts, by the hour of a clock."""

    def __init__(self, inner, clock):
        super().__init__(inner)
        self._clock = clock
        self.writes: Counter[int] = Counter()

    def put(self, key, body, *, if_absent=False):
        self.writes[int(self._clock() // HOUR_S)] += "weights" not in key
        return super().put(key, body, if_absent=if_absent)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(request):
    return f"{FOLDER}/{abs(hash(request.node.name))}"


@pytest.fixture
def store(clock, folder):
    backend, _ = resolve(folder)
    inner = backend.store
    backend.store = counting = Counting(inner, clock)
    yield counting
    backend.store = inner


@pytest.fixture
def run():
    return em.create_run(name="live", hparams={"lr": 0.1})


@pytest.fixture
def rounds(run, folder, clock):
    to = Destination(folder=folder, make_folder=True, conflict_strategy="new")
    return Rounds(RunSource(run, to, Steps()), clock)


def catch_up(rounds, clock):
    """Lets time go on until everything was sent."""
    for _ in range(200):
        clock.now += 60
        if rounds.wait_s() == 0:
            rounds.round()


def load(folder):
    return em.load_run(f"{folder}/live")


def test_requests_are_bounded_while_three_types_are_logged_every_second(run, rounds, clock, store):
    for second in range(3 * HOUR_S):
        clock.now = float(second)
        for kind in ("train", "val", "other"):
            run.log(kind, {"loss": 1 / (second + 1)}, step=second)
        if rounds.wait_s() == 0:
            rounds.round()
    assert 100 < store.writes[0] <= 400
    assert all(20 < store.writes[hour] <= 60 for hour in (1, 2)), store.writes


def busy(run, second):
    """Twenty types of metrics, changing hyperparameters, and an artifact now and then."""
    for kind in range(20):
        run.log(f"kind{kind}", {"loss": 1.0}, step=second)
    run.hparams["seen"] = second
    if second % 1000 < 10:
        run.mark_output(em.create_artifact(f"weights{second}"))


def quiet_then_busy(run, second):
    if second > 2 * HOUR_S:
        busy(run, second)


@pytest.mark.long
@pytest.mark.parametrize("act", [busy, quiet_then_busy])
@pytest.mark.parametrize("away", [(), range(HOUR_S, 2 * HOUR_S)], ids=["reached", "away for an hour"])
def test_requests_are_bounded_whatever_the_run_does(run, rounds, clock, store, folder, act, away):
    for second in range(0, 4 * HOUR_S, 10):
        clock.now = float(second)
        act(run, second)
        if rounds.wait_s() == 0 and second not in away:
            rounds.round()
    assert store.writes[0] <= 400
    assert all(store.writes[hour] <= 60 for hour in (1, 2, 3)), store.writes
    rounds.publish()
    assert load(folder).metrics == run.metrics


def test_a_run_that_logs_nothing_still_shows_that_it_is_alive(rounds, clock, store, folder):
    for second in range(0, 2 * HOUR_S, 5):
        clock.now = float(second)
        if rounds.wait_s() == 0:
            rounds.round()
    assert 30 <= store.writes[1] <= 60, store.writes
    backend, path = resolve(f"{folder}/live")
    assert last_sign(backend, backend.stat(path)) is not None


def test_what_is_logged_follows_byte_by_byte(run, rounds, clock, store, folder):
    rounds.round()
    for step in range(500):
        run.log("train", {"loss": 0.5, "step": step}, step=step)
        if step % 7 == 0:
            clock.now += 30
            if rounds.wait_s() == 0:
                rounds.round()
    catch_up(rounds, clock)
    loaded = load(folder)
    assert loaded.status == "Running"
    assert loaded.metrics == run.metrics
    assert (loaded.directory / "metrics/train.yaml").read_bytes() == (run.directory / "metrics/train.yaml").read_bytes()


@pytest.mark.long
def test_a_reader_has_few_segments_to_read(run, rounds, clock, store, folder):
    rounds.round()
    for step in range(2000):
        run.log("train", {"loss": 0.5}, step=step)
        clock.now += 60
        if rounds.wait_s() == 0:
            rounds.round()
    catch_up(rounds, clock)
    backend, path = resolve(f"{folder}/live")
    key = "metrics/train.yaml"
    node = backend.stat(path)
    reads = []
    inner_get = store.inner.get
    store.inner.get = lambda *args: reads.append(args) or inner_get(*args)
    try:
        data = b"".join(backend.read_grown(node, key))
    finally:
        del store.inner.get
    assert data == (run.directory / key).read_bytes()
    assert len(reads) <= 40, [(key[-40:], *rest) for key, *rest in reads[:50]]


@pytest.mark.parametrize("change", ["hparams", "labels", "description", "artifact", "artifact grows", "type"])
def test_every_change_follows(run, rounds, clock, store, folder, change, tmp_path):
    artifact = em.create_artifact("weights")
    (tmp_path / "w").write_bytes(b"w")
    artifact.add_file(str(tmp_path / "w"))
    if change == "artifact grows":
        run.mark_output(artifact)
    run.log("train", {"loss": 1.0}, step=0)
    rounds.round()
    if change == "hparams":
        run.hparams["lr"] = 0.5
    elif change == "labels":
        run.labels = ["good"]
    elif change == "description":
        run.description = "words"
    elif change == "artifact":
        run.mark_output(artifact)
    elif change == "artifact grows":
        (tmp_path / "v").write_bytes(b"v")
        artifact.add_file(str(tmp_path / "v"))
    else:
        run.log("val", {"loss": 2.0}, step=0)
    catch_up(rounds, clock)
    loaded = load(folder)
    assert dict(loaded.hparams) == dict(run.hparams)
    assert (loaded.labels, loaded.description) == (run.labels, run.description)
    assert loaded.metrics == run.metrics
    if "artifact" in change:
        (record,) = loaded.associations["output"]
        there = em.load_artifact(f"{folder}/weights")
        assert there.id == record["id"]
        assert sorted(found["key"] for found in there.objects) == (["v", "w"] if change == "artifact grows" else ["w"])


def test_nothing_is_published_anew_when_nothing_changed(run, rounds, clock, store, folder):
    run.log("train", {"loss": 1.0}, step=0)
    rounds.round()
    catch_up(rounds, clock)
    run.log("train", {"loss": 1.0}, step=1)
    catch_up(rounds, clock)
    backend, path = resolve(f"{folder}/live")
    assert backend.stat(path).generation == 1


def test_a_run_that_somebody_deleted_is_published_again(run, rounds, clock, store, folder):
    run.log("train", {"loss": 1.0}, step=0)
    rounds.round()
    backend, path = resolve(f"{folder}/live")
    backend.delete(path)
    run.log("train", {"loss": 1.0}, step=1)
    clock.now += 60
    rounds.round()
    assert load(folder).metrics == run.metrics


def test_a_version_that_somebody_published_is_followed_by_another_without_an_error(run, rounds, clock, store, folder):
    rounds.round()
    for step in range(3):
        run.log("train", {"loss": 1.0}, step=step)
        run.upload(folder=folder)
        run.log("train", {"loss": 2.0}, step=step)
        clock.now += 60
        rounds.round()
    assert load(folder).metrics == run.metrics


def test_a_run_that_is_left_out_adds_nothing_to_the_one_that_has_its_name(run, clock, store, folder):
    other = em.create_run(name="live")
    other.log("train", {"loss": 1.0}, step=0)
    other.upload(folder=folder, make_folder=True)
    rounds = Rounds(
        RunSource(run, Destination(folder=folder, make_folder=True, conflict_strategy="skip"), Steps()), clock
    )
    for step in range(5):
        run.log("train", {"mine": 2.0}, step=step)
        clock.now += 60
        rounds.round()
    assert load(folder).id == other.id
    assert load(folder).metrics == other.metrics


@pytest.mark.parametrize("steps", [3, 50, 80])
def test_metrics_that_are_replaced_replace_those_that_were_sent(run, rounds, clock, store, folder, steps):
    for step in range(50):
        run.log("train", {"loss": 1.0}, step=step)
    rounds.round()
    entries = [{"value": {"other": 1.0}, "sequence": {"step": step}} for step in range(steps)]
    run.parse_from_dict({**run.to_dict(), "metrics": {"train": entries}})
    catch_up(rounds, clock)
    assert load(folder).metrics == run.metrics


@pytest.mark.long
def test_no_file_waits_for_another_when_few_may_be_written(run, rounds, clock, store, folder):
    for kind in range(70):
        run.log(f"kind{kind}", {"loss": 1.0}, step=0)
    rounds.round()
    for second in range(0, 5 * HOUR_S, 30):
        clock.now = float(second)
        for kind in range(70):
            run.log(f"kind{kind}", {"loss": 1.0}, step=second)
        if rounds.wait_s() == 0:
            rounds.round()
    assert all(store.writes[hour] <= 60 for hour in (1, 2, 3, 4)), store.writes
    assert all(len(entries) > 100 for entries in load(folder).metrics.values())


def test_a_backend_without_growing_files_gets_the_whole_run_again(run, rounds, clock, folder, monkeypatch):
    backend = ReferenceBackend("alice")
    monkeypatch.setattr("t9k.em.live.source.session.resolve", lambda place: (backend, "/alice/f"))
    rounds.round()
    for step in range(3):
        run.log("train", {"loss": 1.0}, step=step)
        catch_up(rounds, clock)
        node = backend.stat("/alice/f/live")
        assert (node.generation, read_node(backend, node)["metrics/train.yaml"]) == (
            step + 2,
            (run.directory / "metrics/train.yaml").read_bytes(),
        )


def test_long_lines_and_large_pieces_follow(run, rounds, clock, store, folder):
    rounds.round()
    for step in range(30):
        run.log("train", {f"{number}" * 20: number + 0.5 for number in range(10_000)}, step=step)
    catch_up(rounds, clock)
    assert (load(folder).directory / "metrics/train.yaml").read_bytes() == (
        run.directory / "metrics/train.yaml"
    ).read_bytes()


def test_output_follows_only_when_its_lines_are_finished(clock, store, folder):
    run = em.create_run(name="live")  # here, for pytest changes the streams after the fixtures
    rounds = Rounds(
        RunSource(run, Destination(folder=folder, make_folder=True, conflict_strategy="new"), Steps()), clock
    )
    rounds.round()
    print("first")  # noqa: T201
    print("\r10 %", end="")  # noqa: T201
    clock.now += 60
    rounds.round()
    assert (load(folder).directory / "stdout.log").read_text() == "first\n"
    print("\r99 %", end="")  # noqa: T201
    print("\rdone")  # noqa: T201
    catch_up(rounds, clock)
    assert (load(folder).directory / "stdout.log").read_text() == "first\ndone\n"
