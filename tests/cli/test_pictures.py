"""Pictures of curves: what is in the files, and what happens where they cannot be made."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.cli.conftest import Em

from t9k import em as em_

pytest.importorskip("matplotlib")
from matplotlib.image import imread


def train(count: int = 14) -> None:
    for number in range(count):
        with em_.create_run(name="cnn", hparams={"lr": number, "same": 1}) as run:
            for step in range(20):
                run.log("train", {"loss $x_1$": float(number) / (step + 1)}, step=step)
                run.log("val", {"loss $x_1$": float(number) / (step + 1) + 1, "acc <b>": 0.5}, step=step)


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.long
def test_a_png_is_a_picture_with_colors(em: Em) -> None:
    train()
    ran = em("plot", ".em/runs/*", "-o", "loss.png")
    assert (ran.code, ran.out, ran.err) == (0, "", "loss.png: 14 runs, 2 metrics\n")
    pixels = imread("loss.png")
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 1000
    assert len({tuple(pixel) for pixel in pixels.reshape(-1, pixels.shape[2])}) > 50


def test_an_svg_names_each_run_by_what_differs_and_takes_no_name_for_mathematics(em: Em) -> None:
    train()
    assert em("plot", ".em/runs/*", "-o", "loss.svg").code == 0
    found = texts(Path("loss.svg").read_text())
    assert {f"lr={number}" for number in range(14)} <= set(found)
    assert {"loss $x_1$", "acc <b>", "train", "val", "step"} <= set(found)
    assert not any("same" in text for text in found)


def test_no_two_of_many_runs_look_alike(em: Em) -> None:
    train(40)
    assert em("plot", ".em/runs/*", "-m", "loss $x_1$", "--type", "train", "-o", "loss.svg").code == 0
    legend = Path("loss.svg").read_text().rpartition('id="legend_')[2]
    looks = re.findall(
        r'<path d="[^"]*" style="fill: none; stroke: (#\w+)[^"]*"/>(?:.*?<use xlink:href="(#\w+)")?', legend, re.DOTALL
    )
    assert len(set(looks)) > 20


def test_html_is_one_page_that_needs_nothing_else(em: Em) -> None:
    train(3)
    assert em("plot", ".em/runs/*", "-o", "loss.html").code == 0
    page = Path("loss.html").read_text()
    tags: list[str] = []
    cells: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            for name, value in attrs:
                if name in ("src", "href", "xlink:href"):
                    assert (value or "").startswith("#"), "nothing is fetched"

        def handle_data(self, data: str) -> None:
            cells.append(data)

    Parser().feed(page)
    assert {"svg", "table"} <= set(tags)
    assert "script" not in tags
    assert "b" not in tags, "names are escaped"
    assert {"lr=0", "lr=1", "lr=2", "val/acc <b>"} <= set(cells)
    assert any(cell.startswith(".em/runs/cnn_") for cell in cells)


def test_values_that_are_not_finite_leave_gaps(em: Em) -> None:
    with em_.create_run() as run:
        for step, value in enumerate([1.0, float("nan"), float("inf"), 2.0]):
            run.log("train", {"loss": value, "nothing": float("nan")}, step=step)
    for form in ("png", "svg", "html"):
        assert em("plot", run.local, "-o", f"x.{form}").code == 0


def test_another_ending_is_refused_with_the_nearest(em: Em) -> None:
    train(1)
    for name, advice in (
        ("x.pgn", "did you mean 'png'?"),
        ("x", "name the file like x.png"),
        ("s3://b/x.png", "not a URI"),
    ):
        ran = em("plot", ".em/runs/*", "-o", name)
        assert ran.code == 1
        assert advice in ran.err
    assert "choose another file with -o" in em("plot", ".em/runs/*", "-o", "nowhere/x.png").err
    assert em("plot", ".em/runs/*", "-o", "x.png", "--json").code == 2


def test_without_matplotlib_the_extra_is_named(em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
    train(1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "t9k.em.cli.pictures", raising=False)
    ran = em("plot", ".em/runs/*", "-o", "x.png")
    assert (ran.code, ran.err) == (1, "em: pictures need matplotlib; install it: pip install 't9k-em[plot]'\n")
    assert em("plot", ".em/runs/*").code == 0, "the terminal needs none of it"
