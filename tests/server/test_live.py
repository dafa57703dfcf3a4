"""A run that is uploaded to a server while it goes on."""

from __future__ import annotations

import time
import warnings

import pytest
from tests.services.aistore import aistore

from t9k import em
from t9k.em.live import uploading

DEADLINE_S = 60


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("t9k.em.live.pace.FIRST_S", 0.05)
    monkeypatch.setattr(uploading, "LONGEST_PAUSE_S", 0.5)
    with aistore(tmp_path / "live") as running:
        yield running


def eventually(is_so):
    until = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.long
def test_it_grows_and_outlives_a_server_that_is_killed(place):
    alice = place.someone()
    em.login(place.url, api_key=alice.key, timeout=5)
    run = em.create_run(name="live", hparams={"lr": 0.1}, auto_upload=True, folder="f", make_folder=True)

    def loaded():
        return em.load_run("f/live")

    def is_there():
        try:
            return loaded().status == "Running"
        except LookupError:
            return False

    eventually(is_there)
    for step in range(100):
        run.log("train", {"loss": 1.0}, step=step)
    eventually(lambda: len(loaded().metrics.get("train", [])) == 100)
    place.kill()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(100, 200):
            run.log("train", {"loss": 1.0}, step=step)
        time.sleep(0.5)
        place.start()
        run.finish()
    again = loaded()
    assert (again.status, again.metrics) == ("Complete", run.metrics)
    assert [node.name for node in em.session.current().list(f"/{alice.name}/f")] == ["live"]
