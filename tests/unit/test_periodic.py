"""Periodic jobs: put off by name when they are refused, and never silently over."""

import asyncio

import pytest

from ordersys.runtime.base.tasks import TaskEnded, endless
from ordersys.runtime.periodic import every
from ordersys.runtime.storage.errors import StorageUnavailable

SECONDS = 5.0


async def test_what_finds_no_storage_is_put_off_by_name_and_done_the_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A disk without room is no reason to end: the line says which job waits."""
    answers = iter([StorageUnavailable("no room")])
    done = asyncio.Event()

    async def work() -> None:
        if error := next(answers, None):
            raise error
        done.set()

    async with asyncio.TaskGroup() as tasks, every(tasks, "sweep of tests", 0.01, work):
        await asyncio.wait_for(done.wait(), SECONDS)
    (said,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("sweep of tests: put off for 0.01 s: no room")


async def test_what_nobody_foresaw_in_a_job_ends_the_group_and_names_it(caplog: pytest.LogCaptureFixture) -> None:
    """A sweep that fails each time would leave open what is pending, and health that is not asked would stay good."""

    async def work() -> None:
        raise KeyError("nobody foresaw this")

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks, every(tasks, "sweep of tests", 3600, work):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(run(), SECONDS)
    assert isinstance(ended.value.exceptions[0], TaskEnded)
    (said,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "'sweep of tests'" in said.message and said.exc_info


async def test_a_task_that_returns_though_it_must_not_ends_the_group(caplog: pytest.LogCaptureFixture) -> None:
    """To have ended without an error is no better."""

    async def nothing() -> None:
        return

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            endless(tasks, "loop of tests", nothing())
            await asyncio.get_running_loop().create_future()

    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(run(), SECONDS)
    assert "'loop of tests' returned" in caplog.text
