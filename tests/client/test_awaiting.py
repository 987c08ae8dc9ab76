"""Results in asyncio: awaited, iterated, given up."""

from __future__ import annotations

import asyncio

import pytest

from ipyviews.errors import CompositeError, TaskAborted, UsageError
from tests.waiting import eventually, wait_until


def fail():
    raise ValueError("wrong")


def fail_for_two(number):
    if number == 2:
        raise ValueError("two")
    return number


@pytest.fixture
def held(fake):
    """Nothing ends before `fake.release()`."""
    fake.holding = True
    return fake


@pytest.mark.row("3-await")
async def test_values_come_one_by_one_in_order(held, dv):
    values = aiter(dv.map_async(pow, [1, 2], [2, 2]))
    await eventually(lambda: len(held.held) == 2)
    first = asyncio.ensure_future(anext(values))
    held.do(held.held.pop(1)[2])
    await asyncio.sleep(0)
    assert not first.done()
    held.release()
    assert await asyncio.wait_for(first, 5) == 1
    assert [value async for value in values] == [4]


async def test_unordered_items_come_as_they_finish(held, lv):
    result = lv.map_async(pow, [1, 2, 3], [2, 2, 2], ordered=False)
    await eventually(lambda: len(held.held) == 3)
    items = aiter(result)
    for place, value in ((2, 9), (0, 1), (0, 4)):
        held.do(held.held.pop(place)[2])
        assert await asyncio.wait_for(anext(items), 5) == value
    assert [item async for item in result] == [9, 1, 4]


async def test_items_of_chunks_come_one_by_one(dv):
    assert [item async for item in dv.map_async(abs, range(5))] == [0, 1, 2, 3, 4]


async def test_a_single_result_cannot_be_iterated(rc):
    with pytest.raises(TypeError, match="single result are not iterable"):
        async for _ in rc[0].apply_async(pow, 2, 2):
            pass


async def test_a_failure_is_raised_where_it_stands(lv):
    items = aiter(lv.map_async(fail_for_two, range(5)))
    assert [await anext(items), await anext(items)] == [0, 1]
    with pytest.raises(CompositeError) as raised:
        await anext(items)
    assert str(raised.value).endswith("ValueError: two")


async def test_a_time_limit_stops_the_tasks(held, lv):
    result = lv.apply_async(pow, 2, 2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await result
    assert isinstance(await asyncio.to_thread(result.exception, 5), TaskAborted)


async def test_gathered_failures_are_raised_or_collected(lv):
    with pytest.raises(ValueError, match="wrong"):
        await asyncio.gather(lv.apply_async(pow, 2, 2), lv.apply_async(fail))
    good, bad = await asyncio.gather(
        lv.apply_async(pow, 2, 2), lv.apply_async(fail), return_exceptions=True
    )
    assert good == 4
    assert isinstance(bad, ValueError)


@pytest.mark.row("3-await")
async def test_asyncio_wait_names_what_it_takes_instead(held, lv):
    result = lv.apply_async(pow, 2, 2)
    with pytest.raises(UsageError, match=r"asyncio\.wrap_future\(ar\)"):
        await asyncio.wait([result])
    held.release()
    done, pending = await asyncio.wait([asyncio.wrap_future(result)], timeout=5)
    assert [one.result() for one in done] == [4]
    assert not pending


async def test_it_can_be_shielded_and_awaited_as_completed(lv):
    first, second = lv.apply_async(pow, 2, 2), lv.apply_async(pow, 2, 3)
    assert await asyncio.shield(first) == 4
    assert sorted([await one for one in asyncio.as_completed([first, second])]) == [4, 8]


def test_a_loop_that_ended_meanwhile_harms_nobody(held, rc, dv):
    result = dv.apply_async(pow, 2, 2)

    async def give_up():
        async def read():
            async for _ in result:
                pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(), 0.02)

    asyncio.run(give_up())
    held.release()
    assert result.get(5) == [4, 4]
    assert rc[0].apply_sync(pow, 2, 3) == 8


def test_giving_up_an_iteration_leaves_the_tasks_running(held, dv):
    result = dv.apply_async(pow, 2, 2)

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(aiter(result)), 0.02)

    asyncio.run(give_up())
    assert "cancel_request" not in held.names()
    wait_until(lambda: len(held.held) == 2)
    held.release()
    assert result.get(5) == [4, 4]
