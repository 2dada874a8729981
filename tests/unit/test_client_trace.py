"""The command `trace`: the drawing of a waterfall, and what it says where there is none."""

import http.server
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ordersys.grpc_client import command_line, outcome, trace
from ordersys.local import state
from ordersys.runtime.base.files import write_whole

ORDER = "01890000-0000-7000-8000-000000000001"
KEY = "a-key"


def row(label: str, start: int, duration: int, depth: int = 0, notes: Sequence[str] = ()) -> Mapping[str, Any]:
    """A step, as the page tells it."""
    return {
        "label": label, "service": "product-service", "start": start, "duration": duration, "depth": depth,
        "notes": list(notes),
    }  # fmt: skip


def document(*rows: Mapping[str, Any], duration: int = 4_000) -> dict[str, Any]:
    """The waterfall of an order."""
    waterfall = {"trace": "a" * 32, "began": 0, "duration": duration, "services": [], "rows": rows}
    return {"order": ORDER, "quiet": 5000, "traces": [{**waterfall, "omitted": 0, "linked": 0, "omitted_linked": 0}]}


def test_a_bar_lies_where_its_step_was() -> None:
    """As long as that took; the words of what is shared beside the name."""
    rows = [row("call", 0, 4_000), row("reserve", 1_000, 2_000, 1, ["shared with 15 others"]), row("ack", 4_000, 0, 1)]
    lines = list(trace.drawn(document(*rows), 120))
    assert lines[:3] == [f"order {ORDER}", "", f"trace {'a' * 32}, began 1970-01-01 00:00:00 UTC, took 4.0 ms"]
    bars = [line.index("#") for line in lines[3:]]
    widths = [line.count("#") for line in lines[3:]]
    assert widths[0] == 2 * widths[1] and widths[2] == 1
    assert bars[0] < bars[1] < bars[2] == bars[0] + widths[0] - 1
    assert "  reserve (shared with 15 others)  2.0 ms" in lines[4] and "0 µs" in lines[5]


def test_a_narrow_terminal_has_the_names_and_no_bars() -> None:
    """No name is cut."""
    lines = list(trace.drawn(document(row("call", 0, 4_000_000), duration=4_000_000), 40))
    assert lines[3].split() == ["product-service", "call", "4.00", "s"]


def test_traces_that_are_left_out_are_told() -> None:
    """An order may share with more than are shown."""
    shared = document(row("call", 0, 4_000))
    assert "others" not in "".join(trace.drawn(shared, 120))
    shared["traces"][0] |= {"linked": 200, "omitted_linked": 1_012}
    assert list(trace.drawn(shared, 120))[-1] == "linked with 200 traces, and 1,012 others, which are not shown"


def test_what_commands_a_terminal_is_spelled_out() -> None:
    """A span may come from anybody."""
    lines = list(trace.drawn(document(row("\x1b[2J", 0, 0, notes=["\x07"])), 120))
    assert "\x1b" not in "".join(lines) and "\\x1b[2J (\\x07)" in lines[3]


@contextmanager
def page(*answers: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A page that answers so, the last one again and again; its address, and what it was asked with which key."""
    left, asked = list(answers), list[tuple[str, str]]()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(folder: Path, address: str, *words: str, order: str = ORDER) -> int:
    """The command, of a system in that folder whose page is there; none where the address is empty."""
    key = folder / "key"
    key.write_text(KEY)
    live = {"address": address, "key_file": str(key)} if address else {}
    write_whole(folder / state.FILE, state.text({}, {}, known=state.Known(live=live)))
    return command_line.run("ordersys", ["--data-dir", str(folder), *words, "trace", order])


def test_it_waits_until_the_spans_have_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An order that was just placed has none yet; then some; then all."""
    nothing = {"error": "not held", "reason": "TRACE_NOT_HELD", "traces": []}
    some = {**document(row("some", 0, 1)), "quiet": 10}
    with page(nothing, some, document(row("all", 0, 1))) as (address, asked):
        assert run(tmp_path, address, "--json") == outcome.DONE
    assert [each["label"] for each in json.loads(capsys.readouterr().out)["traces"][0]["rows"]] == ["all"]
    assert asked == [(f"/live/orders/{ORDER}/trace", f"Bearer {KEY}")] * 3


def test_no_waterfall_is_told_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the words of the page."""
    with page({"error": "no such order", "reason": "ORDER_NOT_FOUND", "traces": []}) as (address, _):
        assert run(tmp_path, address, "--json") == outcome.REFUSED
        error = json.loads(capsys.readouterr().out)["error"]
        assert (error["code"], error["reason"], error["message"]) == ("NOT_FOUND", "ORDER_NOT_FOUND", "no such order")
        assert run(tmp_path, address) == outcome.REFUSED
    assert capsys.readouterr().err.strip() == "no such order"


def test_an_id_that_is_none_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for `order`: by the rule of the contract, and no page is asked."""
    with page({"error": "no such order", "reason": "ORDER_NOT_FOUND", "traces": []}) as (address, asked):
        assert run(tmp_path, address, order="nonsense") == outcome.WRONG_USE
    assert "ORDER 'nonsense': must be a valid UUID" in capsys.readouterr().err
    assert asked == []


@pytest.mark.parametrize(
    ("address", "words"),
    [("", "ordersys.local --live"), ("127.0.0.1:1", "does not answer"), ("here:there", "is no address of a live page")],
)
def test_without_a_page_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, words: str
) -> None:
    """None was started; or it is away."""
    assert run(tmp_path, address) == outcome.NOT_REACHABLE
    assert words in capsys.readouterr().err


def test_without_a_folder_it_asks_for_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody else's page is asked."""
    monkeypatch.delenv(state.DATA_DIR, raising=False)
    assert command_line.run("ordersys", ["trace", ORDER]) == outcome.WRONG_USE
    assert "--data-dir" in capsys.readouterr().err
    assert command_line.run("ordersys", ["--data-dir", str(tmp_path), "trace", ORDER]) == outcome.NOT_REACHABLE
    assert os.fspath(tmp_path) in capsys.readouterr().err


def test_the_help_says_who_sees_traces(capsys: pytest.CaptureFixture[str]) -> None:
    """They are read with the key of the folder: who has it sees orders that `order` hides."""
    with pytest.raises(SystemExit) as ended:
        command_line.run("ordersys", ["trace", "--help"])
    assert ended.value.code == outcome.DONE
    sentence = "Whoever can read the key in the folder sees the traces of all orders; no token is asked for."
    assert sentence in " ".join(capsys.readouterr().out.split())
