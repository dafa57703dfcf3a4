"""Many clients at once on the AIStore server: small uploads, appends to runs in progress, listings and reads.

All that was acknowledged to a client is compared in the end: there, once, with the bytes that were sent. With `--kill`
the whole server gets SIGKILL in the middle and is started again at the same address, and clients go on.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from loading import KINDS, LINE_BYTES, Notes, Seat, generate
from serving import MIB, AIStorePlace, Watch, aistore, database

GENERATORS = 2
CLIENTS_OF_A_USER = 10
DOWN_S = 1.0
CREDENTIALS = ("AWS_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
"""What the server needs of this environment to reach a bucket."""


def make_seats(place: AIStorePlace, clients: int) -> list[Seat]:
    """A key for each client; a few clients share a user."""
    seats = []
    for number in range(clients):
        if number % CLIENTS_OF_A_USER == 0:
            user = f"user{number // CLIENTS_OF_A_USER}"
            place.accounts.add_user(user)
        seats.append(Seat(place.url, user, place.accounts.add_key(user)[1], number))
    return seats


def load(place: AIStorePlace, seats: list[Seat], seconds: float, *, kill: bool) -> tuple[list[Notes], float]:
    """Lets processes of their own make the load; gives what clients saw, and the processor time that it took."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(GENERATORS, mp_context=context) as pool:
        parts = [seats[at::GENERATORS] for at in range(GENERATORS)]
        running = [pool.submit(generate, part, seconds, interrupted=kill) for part in parts if part]
        if kill:
            time.sleep(seconds / 2)
            place.kill()
            time.sleep(DOWN_S)
            place.start()
        results = [each.result() for each in running]
    return [notes for result in results for notes in result[0]], sum(result[1] for result in results)


def show(notes: list[Notes], seconds: float) -> None:
    """Prints the table."""
    print(f"{'':<10}{'answered':>10}{'per s':>8}{'again':>8}{'errors':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    total = 0
    for kind in KINDS:
        times = sorted(time for each in notes for time in each.seconds[kind])
        again, errors = (sum(getattr(each, name)[kind] for each in notes) for name in ("again", "errors"))
        total += len(times)
        ms = [1000 * times[int(share * (len(times) - 1))] for share in (0.5, 0.99, 1.0)] if times else [0.0, 0.0, 0.0]
        row = "".join(f"{value:>10.1f}" for value in ms)
        print(f"{kind:<10}{len(times):>10}{len(times) / seconds:>8.1f}{again:>8}{errors:>8}{row}")
    artifacts = sum(len(each.artifacts) for each in notes)
    print(f"{total} requests, {total / seconds:.0f} a second; {artifacts} nodes published and found, each once")
    if all(each.follows for each in notes):
        lines = sum(each.grown for each in notes) // LINE_BYTES
        print(f"{lines} appends of {LINE_BYTES} bytes to {len(notes)} runs in progress, all found")
    else:
        print("this server takes no runs in progress: without appends")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="(default: %(default)s)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default: %(default)s)")
    parser.add_argument(
        "--root", metavar="URI", help="what it serves, such as s3://bucket/root (default: a temporary directory)"
    )
    parser.add_argument("--kill", action="store_true", help="kill -9 of the server in the middle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="em-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        settings = stack.enter_context(database(options.database, directory))
        credentials = {key: value for key, value in os.environ.items() if key.startswith(CREDENTIALS)}
        place = stack.enter_context(
            aistore(
                directory / "server",
                root=options.root,
                environment=credentials,
                workers=options.workers,
                **settings,
            )
        )
        seats = make_seats(place, options.clients)
        with Watch(place) as watch:
            notes, generating_s = load(place, seats, options.seconds, kill=options.kill)
        print(
            f"{options.clients} clients, {options.seconds:.0f} s, {options.database}, {options.workers} server processes"
        )
        show(notes, options.seconds)
        print(
            f"server: {watch.peak_bytes / MIB:.0f} MiB in all processes at most, {watch.largest_bytes / MIB:.0f} in one"
        )
        share = generating_s / options.seconds / GENERATORS
        print(f"generators: {GENERATORS} processes, each busy for {share:.0%} of the time")
        if options.kill:
            print("the server was killed in the middle and started again")
        problems = [problem for each in notes for problem in each.problems]
        for problem in problems[:20]:
            print(f"PROBLEM {problem}")
        print("no problem" if not problems else f"{len(problems)} problems or more")
        sys.exit(bool(problems))


if __name__ == "__main__":
    main()
