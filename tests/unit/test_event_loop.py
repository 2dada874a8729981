"""The event loop a service runs on: chosen, or the best there is."""

import asyncio
import os
import subprocess
import sys

import pytest

from ordersys.runtime.base import event_loop

SECONDS = 60
SAY = (
    "import asyncio, sys; from ordersys.runtime.base import event_loop as e\n"
    "with asyncio.Runner(loop_factory=e.factory(e.choice(sys.argv[1]))) as r:\n"
    "    print(type(r.get_loop()).__module__.partition('.')[0], e.name(sys.argv[1]))"
)
WITHOUT = "import sys; sys.modules['uvloop'] = None\n"


def said(choice: str, program: str = SAY) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program, choice],
        env=os.environ,
        text=True,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def test_it_is_as_it_is_told() -> None:
    """The loop is asyncio's own, though another one is installed."""
    assert said("asyncio").stdout.split() == ["asyncio", "asyncio"]


@pytest.mark.skipif(event_loop.UVLOOP is None, reason="uvloop is not installed here")
@pytest.mark.parametrize("choice", ["auto", "uvloop"])
def test_where_uvloop_is_installed_it_is_taken(choice: str) -> None:
    """Unless it is told otherwise."""
    assert said(choice).stdout.split() == ["uvloop", "uvloop"]


def test_where_it_is_not_asyncio_is_taken_unasked() -> None:
    """Nothing has to be set."""
    assert said("auto", WITHOUT + SAY).stdout.split() == ["asyncio", "asyncio"]


def test_what_cant_be_had_is_refused_with_the_way_out() -> None:
    """By the setting, before anything is started."""
    done = said("uvloop", WITHOUT + SAY)
    assert done.returncode == 1
    assert "pip install uvloop" in done.stderr


@pytest.mark.parametrize("text", ["UVLOOP2", "", "trio", "none"])
def test_what_is_no_event_loop_is_refused(text: str) -> None:
    """With those there are."""
    with pytest.raises(ValueError, match="auto, uvloop, asyncio"):
        event_loop.choice(text)


def test_asyncio_runs_what_it_makes() -> None:
    """On this interpreter."""
    with asyncio.Runner(loop_factory=event_loop.factory("auto")) as runner:
        assert runner.run(asyncio.sleep(0, 7)) == 7
