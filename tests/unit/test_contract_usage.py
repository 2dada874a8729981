"""Wrong options of the contract suite are refused at once: one line that names the option and the way out."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract_options import named, programs, restarts
from tests.contract_usage import check, refuse

ROOT = Path(__file__).parent.parent.parent
URL = "amqp://guest:guest@127.0.0.1:5672/trial"
ORDER = "127.0.0.1:50052"
NOTHING: Mapping[str, Any] = {
    **dict.fromkeys(("product_service", "order_service", "notification_service_1", "notification_service_2")),
    **dict.fromkeys(("amqp_url", "amqp_proxy", "stand_in", "name", "service_version", "examples", "seed")),
    "restart": [],
    "program": [],
    "law": [],
    "report": [],
    "known_failures": None,
    "patience": "20",
}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"order_service": "localhost"}, "--order-service=localhost", "with a port"),
    ({"order_service": "localhost:99999"}, "--order-service=localhost:99999", "from 1 to 65535"),
    ({"order_service": f"{ORDER},localhost:50152"}, f"--order-service={ORDER},localhost:50152", "IPv4 addresses only"),
    ({"product_service": "http://h:1"}, "--product-service=http://h:1", "without a scheme"),
    ({"notification_service_2": ""}, "--notification-service-2=", "HOST:PORT"),
    ({"amqp_url": "http://127.0.0.1"}, "--amqp-url", "amqp://"),
    ({"amqp_url": f"{URL},{URL}"}, "--amqp-url", "one URL"),
    ({"amqp_proxy": "127.0.0.1:5673", "order_service": ORDER}, "--amqp-proxy", "--amqp-url"),
    ({"amqp_proxy": "5673", "amqp_url": URL}, "--amqp-proxy=5673", "HOST:PORT"),
    ({"amqp_proxy": "127.0.0.1:5673", "amqp_url": "amqps://127.0.0.1/x"}, "--amqp-proxy", "amqp://"),
    ({"stand_in": "127.0.0.1:50062"}, "--stand-in", "--product-service"),
    ({"stand_in": "50062", "product_service": ORDER}, "--stand-in=50062", "HOST:PORT"),
    ({"program": ["cook=./x"]}, "--program", "order-service"),
    ({"program": ["order-service"]}, "--program", "ROLE=COMMAND"),
    ({"program": ["order-service='"]}, "--program order-service", "shell"),
    ({"program": ["order-service=/no/such"]}, "--program order-service", "no program"),
    ({"program": ["order-service=true", "order-service=false"]}, "--program", "twice"),
    ({"program": ["order-service=true"], "order_service": ORDER}, "--program", "--order-service"),
    ({"restart": ["true"]}, "--restart", "--order-service=HOST:PORT"),
    ({"restart": ["product-service=true"], "order_service": ORDER}, "--restart", "--product-service=HOST:PORT"),
    ({"restart": ["/no/such"], "order_service": ORDER}, "--restart", "no program"),
    ({"restart": [""], "order_service": ORDER}, "--restart", "no program"),
    ({"report": ["/no/such/r.json"]}, "--report=/no/such/r.json", "/no/such"),
    ({"report": ["r.pdf"]}, "--report=r.pdf", ".json"),
    ({"report": ["r.json", "s.json"]}, "--report", "leave one out"),
    ({"report": ["/proc/1/cwd/r.html"]}, "--report=/proc/1/cwd/r.html", "name"),
    ({"law": ["pages/pages_cover_everything"]}, "--law=pages/pages_cover_everything", "similar: pages/"),
    ({"law": ["x"]}, "--law=x", "docs/conformance.md"),
    ({"known_failures": "/no/such"}, "--known-failures=/no/such", "No such file"),
    ({"known_failures": "/"}, "--known-failures=/", "directory"),
    ({"name": " "}, "--name", "1 to 100"),
    ({"service_version": "1\n2"}, "--service-version", "printable"),
]
WRONG_NUMBERS = [
    ({"examples": "0"}, "--examples=0", "at least 1"),
    ({"examples": "many"}, "--examples=many", "whole number"),
    ({"seed": "-1"}, "--seed=-1", "from 0"),
    ({"seed": str(2**32)}, "--seed", "4294967295"),
    ({"patience": "0"}, "--patience=0", "greater than 0"),
    ({"patience": "inf"}, "--patience=inf", "seconds"),
]


def given(config: pytest.Config, monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Any]) -> pytest.Config:
    """This run's configuration, as if these options, and no others of the suite, had been typed."""
    for name, value in {**NOTHING, **options}.items():
        monkeypatch.setattr(config.option, name, value)
    return config


@pytest.mark.parametrize(("options", "names", "way_out"), WRONG, ids=[" ".join(w[0]) + f" {w[2]}" for w in WRONG])
def test_what_can_not_be_meant_is_refused(
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    options: Mapping[str, Any],
    names: str,
    way_out: str,
) -> None:
    """In one line, which names the option and what would be right; no secret is in it."""
    with pytest.raises(pytest.UsageError) as refused:
        refuse(given(pytestconfig, monkeypatch, options))
    text = str(refused.value)
    assert names in text
    assert way_out in text
    assert "\n" not in text
    assert "guest" not in text


@pytest.mark.parametrize(("options", "names", "way_out"), WRONG_NUMBERS, ids=[w[1] for w in WRONG_NUMBERS])
def test_a_number_that_is_none_is_refused(
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    options: Mapping[str, Any],
    names: str,
    way_out: str,
) -> None:
    """Zero examples would prove nothing."""
    with pytest.raises(pytest.UsageError) as refused:
        check(given(pytestconfig, monkeypatch, options))
    assert names in str(refused.value)
    assert way_out in str(refused.value)


@pytest.mark.parametrize("option", ["stand_in", "amqp_proxy"])
def test_a_port_of_somebody_else_is_refused(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """The suite has to listen there itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        options = {option: address, "product_service": ORDER, "amqp_url": URL}
        with pytest.raises(pytest.UsageError, match=f"{address} can't be listened at: Address already in use"):
            refuse(given(pytestconfig, monkeypatch, options))


def test_a_report_that_can_not_be_written_is_refused(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is judged, not after."""
    (tmp_path / "r.json").mkdir()
    with pytest.raises(pytest.UsageError, match="is a folder"):
        refuse(given(pytestconfig, monkeypatch, {"report": [str(tmp_path / "r.json")]}))


def test_what_is_right_is_taken(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A restart without a role is for all that is named; what stands before another `=` is a part of the command."""
    report = [str(tmp_path / f"r.{kind}") for kind in ("json", "html", "svg")]
    options = {
        "order_service": ORDER,
        "product_service": "[::1]:50051,[::1]:50151",
        "amqp_url": URL,
        "restart": ["env A=1 true", "order-service=true --now"],
        "report": report,
        "name": "Ours",
    }
    config = given(pytestconfig, monkeypatch, options)
    refuse(config)
    assert named(config) == {"product-service": "[::1]:50051,[::1]:50151", "order-service": ORDER}
    assert restarts(config) == {"product-service": "env A=1 true", "order-service": "true --now"}
    assert programs(given(pytestconfig, monkeypatch, {"program": ["order-service=a --b=c"]})) == {
        "order-service": "a --b=c"
    }


@pytest.mark.parametrize("options", [["--order-service=localhost"], ["--restart=true", "--examples=3"]])
def test_wrong_usage_ends_a_run_before_it_begins(tmp_path: Path, options: list[str]) -> None:
    """Exit status 4, one line, and nothing was started or written."""
    command = [sys.executable, "-m", "pytest", "tests/contract", "-p", "no:cacheprovider", "-m", "law"]
    report = tmp_path / "report.json"
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path}/pytest", f"--report={report}", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"ERROR: {options[0].partition('=')[0]}")
    assert list(tmp_path.iterdir()) == []
