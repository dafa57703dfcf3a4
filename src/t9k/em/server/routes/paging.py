"""Pages of listings."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from fastapi.responses import JSONResponse

from t9k.em.server.models import MAX_TEXT

_Item = TypeVar("_Item")
PAGE = 1000
FILES_PAGE = 10_000

Path = Annotated[str, Query(max_length=MAX_TEXT, description="Absolute path of a node.", examples=["/alice/mnist/cnn"])]
Key = Annotated[str, Query(max_length=1024, description="Key of a file within its node.", examples=["index.yaml"])]
Generation = Annotated[int, Query(ge=0, le=99_999_999, description="Generation of the node.")]
Offset = Annotated[int, Query(ge=0, le=2**53, description="Of a byte in a file.")]
Limit = Annotated[int, Query(ge=1, le=PAGE, description="How many items at most.")]
FilesLimit = Annotated[int, Query(ge=1, le=FILES_PAGE, description="How many items at most.")]
After = Annotated[str, Query(max_length=MAX_TEXT, description="`next` of the page before.")]


def page(
    items: Sequence[_Item],
    limit: int,
    after: str,
    name: Callable[[_Item], str],
    show: Callable[[_Item], Any],
    **more: Any,
) -> JSONResponse:
    """One page of a listing that is there as a whole.

    Args:
        items: All items, in ascending order of their names.
        limit: How many at most.
        after: The name that the page before ended with; '' for the first one.
        name: What an item is sorted by.
        show: An item as JSON.
        **more: What else the page says.
    """
    start = bisect.bisect_right(items, after, key=name) if after else 0
    shown = items[start : start + limit]
    return whole([show(item) for item in shown], name(shown[-1]) if start + limit < len(items) else None, **more)


def whole(items: Sequence[Any], following: str | None = None, **more: Any) -> JSONResponse:
    """Return a page of items that are JSON already.

    Args:
        items: The items.
        following: What `after` is for the next page; None on the last one.
        **more: What else the page says.
    """
    return JSONResponse({"items": list(items), "next": following, **more})
