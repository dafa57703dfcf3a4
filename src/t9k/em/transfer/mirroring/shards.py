"""Some nodes of a mirror, as a record that another process or machine can work on: URIs and paths, never credentials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from t9k.em import session
from t9k.em.transfer.mirroring.nodes import Item, Mirrored, Options, mirror_node
from t9k.em.transfer.progress import Silent

MOST_NODES = 16
MOST_BYTES = 256 << 20


@frozen(kw_only=True)
class Shard:
    """Work that may be done anywhere, and more than once.

    Attributes:
        source: URI of the root of the source, with its options; whoever works on it finds credentials by itself.
        target: Likewise of the target.
        items: The nodes.
        options: What is asked for.
    """

    source: str
    target: str
    items: tuple[Item, ...]
    options: Options


def run_shard(shard: Shard) -> list[Mirrored]:
    """Mirror the nodes of a shard, one after the other."""
    source, target = session.backend_at(shard.source), session.backend_at(shard.target)
    return [mirror_node(source, target, item, shard.options, Silent()) for item in shard.items]


def split(source: str, target: str, items: Sequence[Item], options: Options) -> Iterator[Shard]:
    """Split work into shards: few nodes each, so that workers end together, and large ones alone."""
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) == MOST_NODES or sum(each.size for each in batch) + item.size > MOST_BYTES):
            yield Shard(source=source, target=target, items=tuple(batch), options=options)
            batch = []
        batch.append(item)
    if batch:
        yield Shard(source=source, target=target, items=tuple(batch), options=options)
