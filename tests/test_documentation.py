"""What can be checked of the documentation without a browser: what fits, what is copied, and what the site loads."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WIDEST = 80
"""Characters of a code block that fit the site on a screen 1,280 pixels wide."""

BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_lines_of_a_console_fit_the_page(block):
    assert [line for line in block.splitlines() if len(line) > WIDEST] == []


@pytest.mark.parametrize("block", BLOCKS)
def test_a_command_is_a_whole_one_for_what_follows_it_is_an_answer_and_not_copied(block):
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith(("$ ", "# ")):
            words = shlex.split(line[2:], comments=True)
            assert words == [] or words[-1] not in ("|", "&&", "||")


def test_the_first_command_to_install_needs_no_release():
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        first = re.search(r"^\$ pip install (.*)$", page.read_text(), re.MULTILINE)
        assert first is not None
        assert first[1].startswith("'.[cli]'")


def test_prompts_and_answers_are_not_copied_and_long_lines_wrap():
    style = (ROOT / "docs" / "stylesheets" / "site.css").read_text()
    rules = {
        selector.strip(): re.sub(r"\s+", " ", body)
        for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL))
        for selector in selectors.split(",")
    }
    assert "user-select: none" in rules[".highlight .gp"]
    assert "display: none" in rules["[data-md-copying] .gp"]
    assert "display: none" in rules["[data-md-copying] .go"]
    assert "white-space: pre-wrap" in rules[".md-typeset pre > code"]


def test_the_site_uses_the_style_and_formats_signatures():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert settings["extra_css"] == ["stylesheets/site.css"]
    python = next(plugin["mkdocstrings"] for plugin in settings["plugins"] if isinstance(plugin, dict))
    options = python["handlers"]["python"]["options"]
    assert options["separate_signature"] is True
    assert options["show_signature_annotations"] is True
    assert options["merge_init_into_class"] is True  # otherwise the page of Run does not say how to make one
    assert options["line_length"] <= WIDEST
    group = re.search(r"^docs = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert group is not None
    assert re.search('"(ruff|black)', group[1])  # without a formatter, signatures stay on one line


def test_the_picture_shows_the_commands_and_loads_nothing_from_elsewhere():
    picture = (ROOT / "docs" / "images" / "terminal.svg").read_text()
    script = runpy.run_path(str(ROOT / "docs" / "images" / "draw.py"))
    shown = re.sub(r"<[^>]+>", "", picture).replace("&#160;", " ")
    for command in script["COMMANDS"]:
        assert command in shown
    assert "url(http" not in picture
    for page, name in (
        (ROOT / "README.md", "docs/images/terminal.svg"),
        (ROOT / "docs/index.md", "images/terminal.svg"),
    ):
        assert f"]({name})" in page.read_text()


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_the_picture_is_the_same_each_time(tmp_path):
    program = (ROOT / "docs" / "images" / "draw.py").read_text()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "draw.py").write_text(program)
        subprocess.run([sys.executable, tmp_path / name / "draw.py"], check=True, capture_output=True)
    one, two = ((tmp_path / name / "terminal.svg").read_bytes() for name in ("one", "two"))
    assert one == two


def test_every_module_that_the_page_on_architecture_names_exists():
    """A path is from the top of the repository, or below one of the two packages."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    tops = (ROOT, ROOT / "src/t9k/em", ROOT / "backends/t9k_em_backends")
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", page))
    assert len(named) > 30
    assert {name for name in named if not any((top / name).exists() for top in tops)} == set()


SHOWN = [
    pytest.param(target, id=target)
    for page in PAGES
    for target in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("target", SHOWN)
def test_what_the_api_pages_show_is_what_a_module_exports(target):
    """A page shows a whole module, all of whose public definitions are exported, or one name that its module exports."""
    try:
        module, name = importlib.import_module(target), ""
    except ModuleNotFoundError:
        module, name = importlib.import_module(target.rpartition(".")[0]), target.rpartition(".")[2]
    assert all(hasattr(module, each) for each in module.__all__)
    if name:
        assert name in module.__all__
    elif not hasattr(module, "__path__"):
        own = {
            each
            for each, value in vars(module).items()
            if not each.startswith("_") and getattr(value, "__module__", None) == module.__name__
        }
        assert own <= set(module.__all__)
