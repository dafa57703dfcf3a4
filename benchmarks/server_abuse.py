"""Slow bodies, slow readers, half-open and idle connections beside 20 honest clients of the AIStore server.

Rounds without and with the attack take turns, on one server. Honest clients do what those of the load benchmark do, and
compare in the end what was acknowledged to them; what they waited with the attack is compared with what they waited without.
Attackers have users, keys and addresses of their own, and a bounded number of connections, each of which is made anew when
the server closes it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import attacking
from attacking import Target, attack
from attrs import define, field
from loading import KINDS, Notes, Seat, generate
from measuring import ratio, report
from serving import MIB, AIStorePlace, Someone, Watch, aistore, database, document
from tests.server.sending import upload

GOAL = 2.0
GOAL_MIB = 400
CLIENTS_OF_A_USER = 10
ATTACKERS = 4
LARGE_BYTES = 7 * MIB
START_S = 60
NUMBERS = {
    "slow bodies": 60,
    "slow lists of files": 20,
    "slow bodies without a key": 40,
    "slow readers": 300,
    "half-open": 900,
    "idle": 900,
}


@define
class Phase:
    """Rounds with, or without the attack.

    Attributes:
        p50: Seconds, of all requests of honest clients, one for each round.
        p99: Likewise.
        answered: Requests that were answered, likewise.
        problems: What must not be.
    """

    p50: list[float] = field(factory=list)
    p99: list[float] = field(factory=list)
    answered: list[int] = field(factory=list)
    by_kind: dict[str, list[float]] = field(factory=lambda: {kind: [] for kind in KINDS})
    problems: list[str] = field(factory=list)

    def add(self, notes: Sequence[Notes]) -> None:
        """Takes what honest clients saw in a round."""
        times = sorted(took for each in notes for kind in KINDS for took in each.seconds[kind])
        self.p50.append(times[len(times) // 2])
        self.p99.append(times[int(0.99 * (len(times) - 1))])
        self.answered.append(len(times))
        for kind in KINDS:
            of_kind = sorted(took for each in notes for took in each.seconds[kind])
            self.by_kind[kind].append(of_kind[int(0.99 * (len(of_kind) - 1))])
        self.problems += [problem for each in notes for problem in each.problems]


def make_target(place: AIStorePlace) -> Target:
    """What attackers have: users with keys, an upload that takes parts, and a file to read."""
    users = [place.someone(prefix="attacker") for _ in range(ATTACKERS)]
    limits = users[0].ask("GET", "version").json()["limits"]
    return Target(
        url=place.url,
        keys=tuple(user.key for user in users),
        ops=tuple(map(_begin, users)),
        paths=tuple(map(_publish, users)),
        body_bytes=limits["bodyBytes"],
        document_bytes=limits["documentBytes"],
    )


def _begin(user: Someone) -> str:
    begun = document(f"/{user.name}/attack", "large", {})
    begun["files"] = [{"key": "data", "size": 1 << 40, "sha256": "0" * 64}]
    user.ask("POST", "uploads", json=begun).raise_for_status()
    return str(begun["op"])


def _publish(user: Someone) -> str:
    node = upload(user, f"/{user.name}/attack", "read", {"file.bin": bytes(LARGE_BYTES)})
    return urlencode({"path": node["path"], "generation": node["generation"], "key": "file.bin"})


@contextlib.contextmanager
def attacked(
    pool: ProcessPoolExecutor, target: Target, numbers: dict[str, int], counts: Counter[str]
) -> Iterator[None]:
    """Attacks for as long as a block lasts."""
    with multiprocessing.get_context("spawn").Manager() as manager:
        ready, over = manager.Event(), manager.Event()
        running = pool.submit(attack, target, numbers, ready, over)
        ready.wait(START_S)
        try:
            yield
        finally:
            over.set()
            counts.update(running.result()[0])


def measure(place: AIStorePlace, options: argparse.Namespace) -> tuple[Phase, Phase, Counter[str]]:
    """All rounds; what they were like without and with the attack, and how many connections attackers made."""
    quiet, loud, counts = Phase(), Phase(), Counter[str]()
    numbers = {kind: max(1, round(many * options.scale)) for kind, many in NUMBERS.items()}
    target = make_target(place)
    users = []
    for number in range(-(-options.clients // CLIENTS_OF_A_USER)):
        place.accounts.add_user(f"user{number}")
        users.append((f"user{number}", place.accounts.add_key(f"user{number}")[1]))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for turn in range(2 * options.rounds):
            seats = [
                Seat(place.url, *users[number // CLIENTS_OF_A_USER], turn * options.clients + number, large=True)
                for number in range(options.clients)
            ]
            phase = loud if turn % 2 else quiet
            with attacked(pool, target, numbers, counts) if turn % 2 else contextlib.nullcontext():
                notes, _ = pool.submit(generate, seats, options.seconds, interrupted=False).result()
            phase.add(notes)
    return quiet, loud, counts


def show(quiet: Phase, loud: Phase, peak_bytes: int) -> bool:
    """Prints the results, and says whether all holds."""
    for name, phase in (("without attack", quiet), ("with attack", loud)):
        report(f"{name}: p50", phase.p50)
        report(f"{name}: p99", phase.p99)
        print(f"{name}: {statistics.median(phase.answered):.0f} requests a round")
    for kind in KINDS:
        ratio(f"p99 of {kind}", statistics.median(loud.by_kind[kind]), statistics.median(quiet.by_kind[kind]), GOAL)
    worse = statistics.median(loud.p99) / statistics.median(quiet.p99)
    problems = quiet.problems + loud.problems
    holds = worse <= GOAL and peak_bytes < GOAL_MIB * MIB and not problems
    ratio("p99 of all requests, with the attack against without", worse, 1, GOAL)
    print(f"peak RSS of all server processes {peak_bytes / MIB:.0f} MiB   (goal: below {GOAL_MIB})")
    for problem in problems[:20]:
        print(f"PROBLEM {problem}")
    print("nothing lost" if not problems else f"{len(problems)} problems or more")
    print("holds" if holds else "does not hold")
    return holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20, help="honest ones (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1, help="of the number of attackers (default: %(default)s)")
    parser.add_argument("--only", choices=attacking.KINDS, action="append", help="some kinds of attackers")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server (default: %(default)s)")
    options = parser.parse_args()
    for kind in set(NUMBERS) - set(options.only or NUMBERS):
        del NUMBERS[kind]
    with tempfile.TemporaryDirectory(prefix="em-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        settings = stack.enter_context(database(options.database, directory))
        place = stack.enter_context(aistore(directory / "server", workers=options.workers, **settings))
        with Watch(place) as watch:
            quiet, loud, counts = measure(place, options)
        print(
            f"{options.clients} honest clients, {options.seconds:.0f} s a round, {options.rounds} rounds of each kind"
        )
        for kind, many in NUMBERS.items():
            print(f"{kind:<30} {round(many * options.scale):5} at once, {counts[kind]:6} connections made")
        sys.exit(not show(quiet, loud, watch.peak_bytes))


if __name__ == "__main__":
    main()
