"""Draw docs/images/terminal.svg: what the commands print, in a terminal; `make pictures` calls this.

The runs are made here, with fixed names, times and numbers, so that the same commands give the same picture. What is shown is what the commands
really print on a terminal.
"""

from __future__ import annotations

import io
import math
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from rich.console import Console
from rich.text import Text

from t9k import em

COLUMNS = 92
TARGET = Path(__file__).with_name("terminal.svg")
COMMANDS = (
    "em ls -l",
    "em show mnist_260301_100000_b7k2qd",
    "em plot .em/runs/* -m loss --type val",
)
RUNS = (("mnist_260301_090000_a3x9wp", "2026-03-01T09", 0.1), ("mnist_260301_100000_b7k2qd", "2026-03-01T10", 0.03))
EPOCHS = 30
# The site loads nothing from elsewhere, and neither does its picture.
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def make_run(name: str, hour: str, lr: float) -> None:
    """Make a run whose loss falls more slowly the smaller the learning rate is."""
    metrics: dict[str, list[dict[str, object]]] = {"train": [], "val": []}
    for epoch in range(1, EPOCHS + 1):
        fallen = math.exp(-epoch * (lr**0.5) / 2)
        sequence = {"epoch": epoch, "step": epoch * 12, "timestamp": f"{hour}:{epoch:02}:00.000000Z"}
        metrics["train"].append({"value": {"loss": round(2.3 * fallen + 0.02, 4)}, "sequence": sequence})
        seen = {"loss": round(2.3 * fallen + 0.09, 4), "accuracy": round(0.98 - 0.88 * fallen, 4)}
        metrics["val"].append({"value": seen, "sequence": sequence})
    em.Run(
        {
            "name": "mnist",
            "alternative_name": name,
            "id": str(uuid5(NAMESPACE_URL, name)),
            "labels": ["digits"],
            "status": "Complete",
            "start_timestamp": f"{hour}:00:30.000000Z",
            "end_timestamp": f"{hour}:31:00.000000Z",
        },
        hparams={"batch_size": 128, "epochs": EPOCHS, "optimizer": {"name": "adam", "lr": lr}},
        metrics=metrics,
        platform={
            "hostname": "gpu-07",
            "command": ["python", "train.py", "--lr", str(lr)],
            "python": "3.12.4",
            "gpus": [{"name": "NVIDIA A100", "memory_bytes": 80 * 10**9}] * 2,
        },
        git={"branch": "main", "commit": "4f2a9c1d8be07365", "dirty": False},
    )


def output_of(command: str) -> str:
    """Run a command on a terminal of its own and return what it prints there."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": "30"}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, **size, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PATH": path}
    with subprocess.Popen(
        ["sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            said += chunk
    os.close(ours)
    if process.returncode:
        sys.exit(f"{command} failed:\n{said.decode()}")
    return said.decode().replace("\r\n", "\n")


def picture() -> str:
    """Return the picture, an SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command in COMMANDS:
        console.print(Text("$ ", "bold green") + Text(command, "bold"))
        console.print(Text.from_ansi(output_of(command).rstrip("\n")), soft_wrap=True)
        console.print()
    return _FONTS.sub("", console.export_svg(title="t9k.em", unique_id="terminal"))


def main() -> None:
    """Draw the picture in a directory of its own."""
    for name in [name for name in os.environ if name.startswith(("EM_", "T9K_"))]:
        del os.environ[name]
    os.environ |= {"TZ": "UTC", "EM_USER": "alice", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        os.environ["T9K_CONFIG"] = str(Path(directory, "config.yaml"))
        for run in RUNS:
            make_run(*run)
        drawn = picture()
    TARGET.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
