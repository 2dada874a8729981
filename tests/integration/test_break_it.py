"""A system that is broken on purpose, by its page: orders are taken, everything comes back, and it ends even."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from ordersys.local import ports
from ordersys.local.choices import SERVICES
from tests.integration.conftest import skip_without_rabbitmq
from tests.integration.live_page import CHROMIUM, FLAGS, LivePage

pytestmark = pytest.mark.timeout(300)
LONG = 120.0
"""The broker takes a minute to boot on a machine that is busy."""
START = 180.0
Document = Mapping[str, Any]


class Broken(NamedTuple):
    """A system that may be broken, its page, and the file with the launcher's words."""

    page: LivePage
    token: str
    folder: Path
    words: Path

    def ask(self, action: str, target: str = "", amount: int | None = None) -> tuple[int, Document]:
        """Asks for an action, as the page does; the status and the answer."""
        fields = {"action": action, "target": target, "amount": amount}
        body = json.dumps({name: value for name, value in fields.items() if value not in ("", None)})
        origin = f"http://{self.page.host}"
        headers = {"Origin": origin, "X-Ordersys-Token": self.token, "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self.page.host, timeout=30)
        connection.request("POST", "/live/break", body, headers)
        answer = connection.getresponse()
        answered = json.loads(answer.read())
        connection.close()
        return answer.status, answered

    def do(self, action: str, target: str = "", amount: int | None = None) -> None:
        """Has an action done, and waits until the page shows that it was."""
        status, answer = self.ask(action, target, amount)
        assert status == 200, answer
        number = answer["done"][0]["number"]
        self.until(lambda d: d["breaking"].get("done", ()) and d["breaking"]["done"][0]["number"] >= number)

    def until(self, wanted: Callable[[Document], object]) -> float:
        """Waits until the page shows something; how many seconds that took."""
        return self.page.until(wanted, LONG)

    def until_even(self, orders: int = 0) -> None:
        """Waits until that many orders were placed, nothing is broken, no backlog is left, and it is even."""
        self.until(lambda d: is_over(d) and (not orders or self.took(orders)))

    def took(self, orders: int) -> bool:
        """True where the page has told that so many orders of the last burst were placed."""
        texts = [str(entry["text"]) for entry in self.page.document["breaking"]["done"]]
        return next((text for text in texts if text.startswith("of ")), "").endswith(f": {orders} placed")

    def pid(self, name: str) -> int:
        """The process of a service."""
        state = json.loads((self.folder / "running.json").read_text())
        return int(state["processes"][name]["pid"])


def is_over(document: Document) -> bool:
    """Nothing is broken, and nothing is left of it."""
    queues = document["broker"].get("queues", {}).values()
    return (
        document["checks"]["verdict"] == "even"
        and not document["breaking"].get("effects", ["unknown"])
        and all(process["well"] for process in document["services"])
        and document["broker"]["state"] == "up"
        and not any(queue["messages"] for queue in queues)
        and not any(outbox["events"] for outbox in document["outboxes"].values())
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    """`python -m ordersys.local --break-it`."""
    skip_without_rabbitmq()
    folder = tmp_path_factory.mktemp("broken")
    words = folder / "words"
    chosen = ports.free(1 + len(SERVICES))
    names = ["amqp", *(module.replace("_", "-") for module in SERVICES)]
    given = [f"--{name}-port={port}" for name, port in zip(names, chosen, strict=True)]
    command = [sys.executable, "-m", "ordersys.local", "--data-dir", str(folder / "d"), "--break-it", "--plain", *given]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("ORDERSYS_RABBITMQ")}
    with words.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until = time.monotonic() + START
        while "Running; Ctrl-C" not in words.read_text():
            assert process.poll() is None and time.monotonic() < until, words.read_text()
            time.sleep(0.1)
        link = re.search(r"(http://\S+#key=\S+?)&token=(\S+)", words.read_text())
        assert link is not None
        with LivePage(link[1]) as page:
            yield Broken(page, link[2], folder / "d", words)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 0
    assert not (folder / "d" / "break-it").exists()


@pytest.fixture
def broken(running: Broken) -> Broken:
    """The system, even."""
    running.until_even()
    return running


@pytest.mark.parametrize(
    ("name", "orders"), [("order_service", 60), ("product_service", 61), ("notification_service_2", 62)]
)
def test_a_service_that_is_killed_comes_back(broken: Broken, name: str, orders: int) -> None:
    """Every order of a burst is taken meanwhile or afterwards, and it takes no second kill before it is back."""
    before, service = broken.pid(name), name.replace("_", "-")
    broken.do("burst", amount=orders)
    broken.do("kill", name)
    assert broken.ask("kill", name)[0] == 409
    broken.until(lambda d: any(s["name"] == service and not s["well"] for s in d["services"]))
    broken.until_even(orders)
    assert broken.pid(name) != before
    assert f"{service} was killed (kill -9)" in broken.words.read_text()


def test_a_broker_that_is_killed_comes_back(broken: Broken) -> None:
    """Orders are taken while it is away; the backlog is in the outbox."""
    broken.do("kill", "rabbitmq")
    broken.until(lambda d: d["broker"]["state"] == "away")
    broken.do("burst", amount=50)
    broken.until(lambda d: any(outbox["events"] for outbox in d["outboxes"].values()))
    broken.until_even(50)


@pytest.mark.parametrize(("name", "orders"), [("order_service", 30), ("rabbitmq", 31)])
def test_a_process_that_is_paused_goes_on(broken: Broken, name: str, orders: int) -> None:
    """By itself; meanwhile it does nothing, and can't be paused again."""
    broken.do("pause", name, 10)
    assert broken.ask("pause", name, 10)[0] == 409
    if name in SERVICES:
        assert psutil.Process(broken.pid(name)).status() == psutil.STATUS_STOPPED
    broken.do("burst", amount=orders)
    broken.until_even(orders)


@pytest.mark.parametrize(("link", "orders"), [("order_service/rabbitmq", 40), ("product_service/order_service", 41)])
def test_a_link_that_is_cut_is_mended(broken: Broken, link: str, orders: int) -> None:
    """It is never taken for a loss: all are well meanwhile, for longer than what is on its way may take."""
    verdicts = set()

    def noted(document: Document) -> bool:
        verdicts.add(document["checks"]["verdict"])
        return is_over(document) and broken.took(orders)

    broken.do("cut", link, 12)
    broken.do("burst", amount=orders)
    broken.until(noted)
    assert "moving" in verdicts
    assert "uneven" not in verdicts


def test_a_poison_message_becomes_a_dead_letter_of_each_and_breaks_nothing(broken: Broken) -> None:
    """With its reason; the check of events tells of it."""
    broken.do("poison")

    def told(document: Document) -> bool:
        letters = [letter for consumer in document["letters"] for letter in consumer["letters"]]
        return len(letters) == 2 and all(letter["reason"] == "rejected" and letter["obstacle"] for letter in letters)

    broken.until(told)
    broken.until_even()
    assert "2 dead letters" in broken.page.document["checks"]["checks"][1]["sentence"]


def test_a_queue_that_is_filled_is_worked_off_as_soon_as_everything_is_mended(broken: Broken) -> None:
    """The subscriber is paused, so the queue grows; `mend` ends that at once."""
    broken.do("fill", "notification_service_1", 150)
    broken.until(lambda d: d["breaking"]["done"][0]["text"] == "of 150 orders: 150 placed")
    broken.until(lambda d: d["checks"]["checks"][1]["sentence"].endswith("on the way to notification-service-1"))
    broken.do("mend")
    broken.until_even()


def test_the_token_is_on_no_disk(broken: Broken) -> None:
    """Nor on a command line, where everybody sees it."""
    for file in broken.folder.rglob("*"):
        if file.is_file() and file.stat().st_size < 10_000_000:
            assert broken.token.encode() not in file.read_bytes(), file
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if broken.token in line]


RED_SECONDS = 2.0


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, on the path or as ORDERSYS_TEST_CHROMIUM")
def test_a_click_kills_the_order_service_and_the_page_shows_it_coming_back(broken: Broken) -> None:
    """Red within two seconds, then well again, and even; a button rests meanwhile. The token leaves the address."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    troubles: list[str] = []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page()
        page.set_default_timeout(LONG * 1000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith("http://127.0.0.1:") else troubles.append(r.url))
        page.on("request", lambda r: troubles.append(r.url) if broken.token in r.url else None)
        page.goto(f"http://{broken.page.host}/#key={broken.page.key}&token={broken.token}")
        page.locator(".verdict[data-verdict=even]").wait_for()
        assert broken.token not in page.url and broken.page.key not in page.url
        page.get_by_label("Kill: whom").select_option("order_service")
        box = page.locator("#flow g", has=page.locator("title", has_text=re.compile("^order-service$")))
        kill = page.get_by_role("button", name="Kill")
        kill.click()
        clicked = time.monotonic()
        page.wait_for_function("node => node.classList.contains('bad')", arg=box.element_handle())
        assert time.monotonic() - clicked < RED_SECONDS
        page.locator("#done", has_text="order-service was killed (kill -9)").wait_for()
        page.wait_for_function("node => node.classList.contains('good')", arg=box.element_handle())
        page.locator(".verdict[data-verdict=even]").wait_for()
        playwright.expect(kill).to_be_enabled(timeout=LONG * 1000)
        chromium.close()
    assert troubles == []
