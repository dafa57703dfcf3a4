"""A page of a listing that is there as a whole costs what it shows."""

from __future__ import annotations

import json

import pytest

from t9k.em.server.routes.paging import page

ITEMS = [f"{number:05d}" for number in range(4000)]


@pytest.mark.parametrize("limit", [1, 999, 1000, 4000, 5000])
def test_pages_hold_every_item_once(limit) -> None:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        said = json.loads(bytes(page(ITEMS, limit, after, str, str).body))
        found += said["items"]
        after = said["next"]
    assert found == ITEMS


def test_a_page_looks_at_few_of_the_items_that_it_does_not_show() -> None:
    looked = []

    def name(item: str) -> str:
        looked.append(item)
        return item

    for after in ("", "00007", "03990", "zzz"):
        looked.clear()
        page(ITEMS, 10, after, name, str)
        assert len(looked) < 20
