"""The live page in a real browser, fed with a document of ours. Needs playwright (group `browser`) and Chromium."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ordersys.contract.topology import subscriptions
from ordersys.live.board import Board
from ordersys.live.graph import graph
from ordersys.live.ledger import Ledger
from ordersys.live.server import Server
from ordersys.live.snapshot import Facts, document
from ordersys.local.live_link import new_key
from tests.integration.live_page import CHROMIUM, FLAGS
from tests.unit.test_live_traces import message, request

playwright = pytest.importorskip("playwright.async_api", reason="needs playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, on the path or as ORDERSYS_TEST_CHROMIUM")
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
TRACES_KEY = "for-spans"
FIRST, SECOND = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"


def order(order_id: str, customer: str) -> dict[str, Any]:
    """An order as the document has it."""
    return {
        "id": order_id, "customer": customer, "state": HOSTILE, "version": 1, "units": 1, "total": "1.00",
        "created": 0, "updated": 0, "heard": {"notification-service-1": True, "notification-service-2": False},
    }  # fmt: skip


def event(order_id: str, customer: str) -> dict[str, Any]:
    """An event as the document has it."""
    return {
        "id": f"{order_id}.1", "kind": HOSTILE, "order": order_id, "version": 1, "customer": customer, "text": HOSTILE,
        "late": True, "heard": {"notification-service-1": 0}, "missing": ["notification-service-2"],
    }  # fmt: skip


LETTER = {
    "id": "0", "event": HOSTILE, "kind": HOSTILE, "reason": HOSTILE, "obstacle": HOSTILE, "time": None, "size": 1,
    "replay": HOSTILE,
}  # fmt: skip
SECTIONS: Mapping[str, Any] = {
    "services": [{"name": "order-service", "address": HOSTILE, "health": HOSTILE, "since": 0, "well": False}],
    "broker": {"state": "away", "reason": HOSTILE, "queues": {}},
    "orders": [order(FIRST, HOSTILE), order(SECOND, "anna")],
    "events": [event(FIRST, HOSTILE), event(SECOND, "anna")],
    "letters": [{"consumer": HOSTILE, "listed": 0, "more": False, "letters": [LETTER]}],
    "checks": {"verdict": "uneven", "checks": [{"subject": "orders", "verdict": "uneven", "sentence": HOSTILE}]},
    "troubles": [{"source": HOSTILE, "reason": HOSTILE}],
}


class Browser(NamedTuple):
    """A page, what it was fed from, and whatever went wrong in it."""

    page: Any
    board: Board
    link: str
    troubles: list[str]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The page, open."""
    facts = Facts(graph(), subscriptions(), Ledger(subscriptions()), "ordersys")
    board, troubles = Board(), list[str]()
    board.show({**document(facts, 0), **SECTIONS})

    async def details(order_id: str) -> Mapping[str, Any]:
        items = [{"product": HOSTILE, "quantity": 1, "price": HOSTILE}]
        return {**order(order_id, HOSTILE), "items": items, "events": [event(order_id, HOSTILE)]}

    server = Server(board, details, 0, new_key(), TRACES_KEY)
    await server.start()
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await chromium.new_page()
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith("http://127.0.0.1:") else troubles.append(r.url))
        await page.goto(server.link)
        await page.get_by_role("button", name=f"Order {SECOND}").first.wait_for()
        yield Browser(page, board, server.link, troubles)
        await chromium.close()
    await server.stop()
    assert troubles == []


async def test_others_words_stay_text(browser: Browser) -> None:
    """In each list, in the banner, in the drawing and in an order: no element comes of them, and no script runs."""
    page = browser.page
    await page.get_by_role("button", name=f"Order {FIRST}").first.click()
    await page.locator("dialog[open] table").first.wait_for()
    assert await page.locator("img").count() == 0
    assert await page.title() == "(!) ordersys live"
    text = await page.locator("body").text_content()
    assert text.count(HOSTILE) >= 15


async def test_the_key_leaves_the_address_and_a_reload_goes_on(browser: Browser) -> None:
    """No screenshot shows it; an order that was open is open again."""
    page, key = browser.page, browser.link.partition("key=")[2]
    assert key not in page.url
    await page.get_by_role("button", name=f"Order {SECOND}").first.click()
    await page.locator("dialog[open]").wait_for()
    assert page.url.endswith(f"#order={SECOND}")
    await page.reload()
    await page.locator("dialog[open]", has_text=SECOND).wait_for()
    await page.keyboard.press("Escape")
    await page.locator("dialog[open]").wait_for(state="detached")
    await page.wait_for_function("id => !location.href.includes(id)", arg=SECOND)


# A page of somebody else, who has even found out the key: what it can do with the origin of the live page.
FOREIGN = """
async ([origin, key]) => {
  const spans = { method: "POST", mode: "no-cors", body: "x" };
  const headers = { "Content-Type": "application/json", "X-Ordersys-Token": "x" };
  const loaded = (element, parent) => new Promise((resolve, reject) => {
    Object.assign(element, { onload: resolve, onerror: reject, onmessage: resolve });
    parent?.append(element);
  });
  const attempts = {
    read: () => fetch(`${origin}/live/orders/1?key=${key}`),
    listen: () => loaded(new EventSource(`${origin}/live/events?key=${key}`)),
    look: () => fetch(origin, { mode: "no-cors" }),
    run: () => loaded(Object.assign(document.createElement("script"), { src: `${origin}/stream.js` }), document.body),
    break: () => fetch(`${origin}/live/break`, { method: "POST", headers, body: "{}" }),
    export: () => fetch(`${origin}/v1/traces`, spans),
  };
  const gained = [];
  for (const [name, attempt] of Object.entries(attempts)) await attempt().then(() => gained.push(name), () => {});
  document.body.append(Object.assign(document.createElement("iframe"), { src: origin }));
  return gained;
}
"""


async def test_a_page_from_elsewhere_gains_nothing(browser: Browser) -> None:
    """It is of another port of the same machine, which browsers take for the same site, and has the key."""

    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<body></body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", nothing)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        foreign = await browser.page.context.browser.new_page()
        await foreign.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        origin, _, key = browser.link.partition("/#key=")
        assert await foreign.evaluate(FOREIGN, [origin, key]) == []
        await playwright.expect(foreign.locator("iframe")).to_have_count(1)
        frame = await (await foreign.locator("iframe").element_handle()).content_frame()
        await frame.wait_for_url("chrome-error:**")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("waiting", "expected"), [(0, "2 kept"), (7, "2 kept, 7 to take over")])
async def test_the_drawing_has_the_dead_letters_that_a_subscriber_keeps(
    browser: Browser, waiting: int, expected: str
) -> None:
    """Their queue is empty once it has taken them over."""
    first = subscriptions()[0]
    queues = {first.dead_letter_queue: {"messages": waiting, "consumers": 1}}
    letters = [{**LETTER, "id": number} for number in "12"]
    kept = [{"consumer": first.consumer, "listed": 0, "more": False, "letters": letters}]
    browser.board.show({"broker": {"state": "up", "reason": "", "queues": queues}, "letters": kept})
    drawn = browser.page.locator("#states tr", has_text=first.dead_letter_queue).locator("td")
    await playwright.expect(drawn).to_have_text(expected)


async def test_a_filter_leaves_what_fits(browser: Browser) -> None:
    """By the keyboard alone; it stands in the address."""
    page = browser.page
    await page.keyboard.press("/")
    await page.keyboard.type("ANN")
    await page.locator("#orders tbody tr").nth(1).wait_for(state="detached")
    assert await page.locator("#orders tbody").inner_text() != ""
    assert await page.locator("#events tbody tr").count() == 1
    assert "filter=ANN" in page.url


async def test_a_paused_page_stays_as_it_is(browser: Browser) -> None:
    """And shows the newest when it goes on."""
    page = browser.page
    await page.keyboard.press("p")
    browser.board.show({"orders": [order(SECOND, "carla")]})
    browser.board.show({"orders": [order(SECOND, "carla"), order(FIRST, "ben")]})
    await page.wait_for_timeout(1000)  # nothing happens: there is nothing to wait for
    assert "carla" not in await page.locator("#orders").inner_text()
    await page.keyboard.press("p")
    await page.locator("#orders", has_text="carla").wait_for()


async def test_the_page_ends_where_its_lists_end(browser: Browser) -> None:
    """However long they are: what is in a list that scrolls lengthens no page."""
    ids = [f"00000000-0000-7000-8000-{number:012}" for number in range(60)]
    browser.board.show({"orders": [order(i, "anna") for i in ids], "events": [event(i, "anna") for i in ids]})
    await browser.page.get_by_role("button", name=f"Order {ids[-1]}").first.wait_for()
    ends = await browser.page.evaluate(
        "[document.documentElement.scrollHeight, document.querySelector('main').getBoundingClientRect().bottom]"
    )
    assert ends[0] <= ends[1] + 200, ends


async def test_a_page_that_lost_its_server_says_so(browser: Browser) -> None:
    """In words that are read out."""
    browser.board.close()
    await browser.page.get_by_role("status").filter(has_text="does not answer").wait_for()
    browser.board.closed = False
    await browser.page.get_by_role("status").filter(has_text="connected").wait_for()


# The stream of the page at hand, so that states come as fast as they are taken.
KEEP_STREAM = """
const Original = EventSource;
window.EventSource = class extends Original {
  constructor(...of) { super(...of); window.stream = this; }
};
"""
# From state to state half of the orders and events are others, as are rates, letters and troubles.
FEED = """
async ([template, first, last]) => {
  for (let state = first; state < last; state++) {
    const made = (count, of) => Array.from({ length: count }, (_, n) => of(state * (count / 2) + count - n));
    const { order, event, letter } = template;
    const data = {
      orders: made(10, (n) => ({ ...order, id: `${n}`, customer: `customer ${n}` })),
      events: made(20, (n) => ({ ...event, id: `${n}`, order: `${n}`, text: `event ${n} `.repeat(20) })),
      letters: [{ consumer: "a", listed: state, more: false, letters: made(10, (n) => ({ ...letter, id: `${n}` })) }],
      troubles: made(4, (n) => ({ source: `source ${n}`, reason: `reason ${n}` })),
      services: [{ name: "order-service", address: "x", health: `health ${state}`, since: state, well: false }],
      broker: { state: "away", reason: `reason ${state}`, queues: {} },
      rates: { records: { a: { b: state } }, history: made(60, (n) => n), calls: [] },
    };
    window.stream.onmessage({ data: JSON.stringify(data) });
    if (state % 20 === 0) await new Promise((resume) => setTimeout(resume));
  }
}
"""
TEN_MINUTES = 2400
"""States: the server sends four a second at most."""
A_FEW = 200


@pytest.mark.timeout(300)
async def test_ten_minutes_of_events_leave_no_more_behind_than_a_few_seconds(browser: Browser) -> None:
    """Neither in the heap nor among the elements and their listeners: a page may stay open for days."""
    page = browser.page
    await page.add_init_script(KEEP_STREAM)
    await page.reload()
    await page.get_by_role("button", name=f"Order {SECOND}").first.wait_for()
    developer = await page.context.new_cdp_session(page)
    template = {"order": order("", ""), "event": event("", ""), "letter": LETTER}

    async def after(first: int, last: int) -> Mapping[str, float]:
        await page.evaluate(FEED, [template, first, last])
        for _ in range(2):  # what the first collection lets go of may hold more
            await developer.send("HeapProfiler.collectGarbage")
        counters = await developer.send("Memory.getDOMCounters")
        return {**counters, **await developer.send("Runtime.getHeapUsage")}

    before = await after(0, A_FEW)
    afterwards = await after(A_FEW, A_FEW + TEN_MINUTES)
    figures = json.dumps([before, afterwards])
    assert afterwards["nodes"] < before["nodes"] * 1.2, figures
    assert afterwards["jsEventListeners"] < before["jsEventListeners"] * 1.2, figures
    assert afterwards["usedSize"] < before["usedSize"] * 1.2 + 500_000, figures


def spans(*names: str) -> list[Span]:
    """A step each, beneath the first, of 1 ms; they are about the second order, and one is shared."""
    made = []
    for number, name in enumerate(names):
        parent = {"parent_span_id": (1).to_bytes(8)} if number else {}
        times = {"start_time_unix_nano": number * 1_000_000, "end_time_unix_nano": (number + 1) * 1_000_000}
        made.append(message(span_id=(number + 1).to_bytes(8), name=name, **parent, **times))
    made[0].attributes.add(key="ordersys.order.id").value.string_value = SECOND
    made[0].attributes.add(key="rpc.method").value.string_value = HOSTILE
    made[-1].links.add(trace_id=b"o" * 16, span_id=b"w" * 8)
    whole = message(trace_id=b"o" * 16, span_id=b"w" * 8, name="commit")
    for number in range(16):
        whole.links.add(trace_id=b"t" * 16 if not number else bytes([number]) * 16, span_id=made[-1].span_id)
    return [*made, whole]


async def send(browser: Browser, *sent: Span) -> None:
    """Sends spans to the page's server."""
    url = f"{browser.link.partition('#')[0]}v1/traces"
    headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {TRACES_KEY}"}
    body = request(*sent, service=HOSTILE).SerializeToString()
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200


async def test_an_order_is_one_click_from_its_waterfall(browser: Browser) -> None:
    """It grows as spans come, says what was shared, and is a table for whoever can't see it."""
    page = browser.page
    await page.get_by_role("button", name=f"Order {SECOND}").first.click()
    await page.locator("#waterfall", has_text="no service has sent a span").wait_for()
    await send(browser, *spans("call", "reserve"))
    await page.locator("#waterfall", has_text="shared with 15 others").wait_for()
    table = page.get_by_role("table", name="Waterfall")
    assert await table.get_by_role("rowheader").all_inner_texts() == ["call", "reserve shared with 15 others"]
    call, reserve = [await bar.bounding_box() for bar in await table.locator(".bar").all()]
    assert call["width"] > 0 and call["x"] + call["width"] <= reserve["x"] + 2
    assert "after 1.0 ms" in await table.inner_text()
    await send(browser, *spans("call", "reserve", "confirm"))
    await table.get_by_role("rowheader", name="confirm").wait_for()


async def test_a_waterfall_is_read_by_the_keyboard_alone(browser: Browser) -> None:
    """By its permalink; the step that has the focus tells its attributes, and keeps it while others come."""
    page = browser.page
    await send(browser, *spans("call", HOSTILE))
    await page.evaluate(f"location.hash = 'order={SECOND}'")
    table = page.get_by_role("table", name="Waterfall")
    await table.get_by_role("rowheader", name="call").wait_for()
    await table.locator("tbody tr").first.focus()
    assert HOSTILE in await page.locator(".detail").inner_text()
    await page.keyboard.press("ArrowDown")
    assert await page.evaluate("document.activeElement.dataset.number") == "1"
    await send(browser, *spans("call", HOSTILE, "confirm"))
    await table.get_by_role("rowheader", name="confirm").wait_for()
    assert await page.evaluate("document.activeElement.dataset.number") == "1"
    assert await page.locator("img").count() == 0
    await page.keyboard.press("Escape")
    await page.locator("dialog[open]").wait_for(state="detached")
    await page.wait_for_function("id => !location.href.includes(id)", arg=SECOND)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_words_of_a_waterfall_can_be_read_in_both_palettes(browser: Browser, scheme: str) -> None:
    """A contrast of 4.5 : 1 at least (WCAG 2.2, 1.4.3)."""
    page = browser.page
    await page.emulate_media(color_scheme=scheme)
    await send(browser, *spans("call", "reserve"))
    await page.get_by_role("button", name=f"Order {SECOND}").first.click()
    note = page.locator("#waterfall .note")
    await note.wait_for()
    colours = [await note.evaluate("e => getComputedStyle(e).color")]
    colours += [await page.locator("dialog#order").evaluate("e => getComputedStyle(e).backgroundColor")]
    dark, light = sorted(luminance(colour) for colour in colours)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """The relative luminance of `rgb(…)`, as WCAG has it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
