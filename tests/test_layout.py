"""What a newcomer may rely on when reading imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEAM = "t9k_em_backends.s3.plain_http"
BY_NAME = {
    "src/t9k/em/cli/app.py",  # a command is a module of its package, and is imported when it is called
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for top in ("src", "backends"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> list[str]:
    """Names that a statement imports, with their modules; relative imports are refused by the linter."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{each.name}" for each in node.names]
    return []


def test_no_module_is_imported_by_a_string() -> None:
    """Entry points load backends, and an optional library is imported by name where it is needed."""
    found = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
    }
    assert found == BY_NAME


def test_one_module_knows_the_folder_of_plain_http_and_only_its_seam() -> None:
    found = {
        (path, name)
        for path, tree in modules()
        if "/plain_http/" not in path
        for node in ast.walk(tree)
        for name in imported(node)
        if name.startswith(SEAM)
    }
    assert found == {("backends/t9k_em_backends/s3/clients.py", f"{SEAM}.seam.plain_http_for")}
