"""Bytes in memory: shared between users, never all for one, and taken back from who is slow."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from t9k.em.server.http import room as module
from t9k.em.server.http.room import Room


async def held(stack: AsyncExitStack, room: Room, user: str, size: int):
    return await stack.enter_async_context(room.holding(user, size))


async def waits(room: Room, user: str, size: int) -> tuple[asyncio.Task, asyncio.Event, asyncio.Event]:
    """Somebody who wants room, after everything else had its turn."""
    has, done = asyncio.Event(), asyncio.Event()

    async def hold():
        async with room.holding(user, size):
            has.set()
            await done.wait()

    task = asyncio.create_task(hold())
    for _ in range(3):
        await asyncio.sleep(0)
    return task, has, done


def test_one_user_leaves_room_for_others():
    async def scene():
        room = Room(100)
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await held(stack, room, "many", 10)
            task, has, done = await waits(room, "many", 10)
            assert not has.is_set()
            await held(stack, room, "other", 40)
        await has.wait()
        done.set()
        await task

    asyncio.run(scene())


@pytest.mark.parametrize("users", [1, 2, 4, 9])
def test_however_many_users_take_what_they_can_there_is_room_for_who_comes_last(users):
    async def scene():
        room = Room(1000)
        tasks = [(await waits(room, f"user{number % users}", 20)) for number in range(100)]
        assert not all(has.is_set() for _, has, _ in tasks)
        last = await waits(room, "last", 40)
        assert last[1].is_set()
        tasks.append(last)
        for _, _, done in tasks:
            done.set()
        await asyncio.gather(*(task for task, _, _ in tasks))
        assert (room._taken, room._by_user, room._of_user, room._waiting) == (0, {}, {}, {})

    asyncio.run(scene())


def test_the_user_who_holds_least_goes_first():
    async def scene():
        room = Room(100)
        order = []

        async def hold(user: str):
            async with room.holding(user, 30):
                order.append(user)

        async with AsyncExitStack() as stack:
            await held(stack, room, "a", 50)
            async with room.holding("c", 50):
                tasks = [asyncio.create_task(hold(user)) for user in ("a", "c", "b")]
                await asyncio.sleep(0.01)
                assert order == []
            await asyncio.sleep(0.01)
            assert order[0] in ("b", "c")
            assert "a" not in order
        await asyncio.gather(*tasks)
        assert sorted(order) == ["a", "b", "c"]

    asyncio.run(scene())


def test_the_oldest_request_always_goes_on():
    """However full it is: else all would wait for each other."""

    async def scene():
        room = Room(100, spare_bytes=40)

        async def body(user: str):
            async with room.holding(user) as holding:
                for size in range(10, 50, 10):
                    await holding.grow(size)
                    await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*(body(f"user{number % 5}") for number in range(40))), 30)
        assert (room._taken, room._by_user, room._holdings, room._waiting) == (0, {}, {}, {})

    asyncio.run(scene())


@pytest.mark.parametrize("size", [101, 1000])
def test_what_is_larger_than_all_is_let_through_alone(size):
    async def scene():
        room = Room(100)
        async with room.holding("a", 10):
            task, has, done = await waits(room, "b", size)
            assert not has.is_set()
        await has.wait()
        done.set()
        await task

    asyncio.run(scene())


def test_who_is_cancelled_while_waiting_holds_nothing():
    async def scene():
        room = Room(100)
        async with room.holding("a", 100):
            task, _, _ = await waits(room, "b", 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (room._taken, room._holdings, room._waiting) == (0, {}, {})

    asyncio.run(scene())


def test_slow_bodies_give_way_while_others_wait(monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    monkeypatch.setattr(module, "LOOK_S", 0.02)

    async def scene():
        room = Room(100)
        gave_way = []
        async with AsyncExitStack() as stack:
            slow = await held(stack, room, "slow", 50)
            fast = await held(stack, room, "fast", 50)
            for holding, name in ((slow, "slow"), (fast, "fast")):
                holding.give_way = lambda name=name: gave_way.append(name)
            fast.came(1 << 30)
            await asyncio.sleep(0.1)
            assert gave_way == []  # nobody waits
            task, _, done = await waits(room, "other", 50)
            await asyncio.sleep(0.2)
            assert gave_way == ["slow"]
        done.set()
        await task

    asyncio.run(scene())


def test_what_came_fast_at_the_beginning_is_no_excuse_later(monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 0.05)

    async def scene():
        async with Room(100).holding("a", 10) as holding:
            holding.came(1 << 40)
            await asyncio.sleep(0.1)
            assert not holding.is_slow()
            holding.came(1)
            await asyncio.sleep(0.1)
            assert holding.is_slow()
            holding.came(1)  # looked at once more in a while
            assert holding.is_slow()

    asyncio.run(scene())
