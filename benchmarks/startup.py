"""How long `import t9k.em` and `create_run` take, each in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from measuring import report, seconds

RUNS = 15
CREATE = """
import time
from t9k import em
start = time.perf_counter()
run = em.create_run(name="bench")
print(time.perf_counter() - start)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:

        def python(code: str) -> str:
            return subprocess.run(
                [sys.executable, "-c", code], cwd=directory, check=True, capture_output=True, text=True
            ).stdout

        python("import t9k.em")  # compiles
        bare, imported, created = [], [], []
        for _ in range(RUNS):
            bare.append(seconds(lambda: python("pass")))
            imported.append(seconds(lambda: python("import t9k.em")))
            created.append(float(python(CREATE)))
    alone = report("python -c pass", bare)
    both = report("python -c 'import t9k.em'", imported)
    print(f"{'import t9k.em beyond that':<58} {(both - alone) * 1e3:9.1f} ms   (goal: under 80)")
    report("create_run without git (goal: under 50)", created)


if __name__ == "__main__":
    main()
