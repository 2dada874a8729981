"""The command `place --file`: an order for each entry, and the outcome of each."""

import argparse
import asyncio
from collections.abc import Sequence

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.console.parser import UsageError
from ordersys.grpc_client import as_json, errors, layout, order_input, outcome, printing, tables
from ordersys.grpc_client.batch import Batch, Outcome
from ordersys.grpc_client.connection import Client, Failed
from ordersys.grpc_client.parser import JSON, JSONL, TABLE


async def place_file(client: Client, arguments: argparse.Namespace) -> int:
    """Every entry is tried. The exit status is the gravest of all: no answer before refused before done."""
    alone = {
        "PRODUCT=QUANTITY": arguments.items,
        "--customer": arguments.customer,
        "--request-id": arguments.request_id,
    }
    if useless := [name for name, given in alone.items() if given not in (None, [])]:
        raise UsageError(
            f"{' and '.join(useless)} can't stand beside --file, whose entries say what is ordered by whom"
        )
    wanted = order_input.from_file(arguments.file)
    ids = order_input.request_ids(wanted, arguments.batch)
    requests = [order_input.request(order, request_id) for order, request_id in zip(wanted, ids, strict=True)]
    report = _Report(arguments, requests)
    batch = Batch(client, requests, report.show, again="repeat the same command, which places nothing twice")
    try:
        await batch.place()
    except asyncio.CancelledError:  # by a signal; the process ends with its status once this is said
        report.end(batch, "interrupted: ")
        return interrupts.exit_status
    except BaseExceptionGroup:  # the output can't be written
        report.sum_up(batch, "stopped: ")
        raise
    report.end(batch)
    return report.status


class _Report:
    """Says what becomes of the entries of a file: at once, or in one document at the end."""

    def __init__(self, arguments: argparse.Namespace, requests: Sequence[PlaceOrderRequest]) -> None:
        self.status = outcome.DONE
        self._arguments = arguments
        self._requests = requests
        self._widths = (len(str(len(requests))), max([layout.cells(r.customer_id) for r in requests], default=0))

    def show(self, entry: int, result: Outcome) -> None:
        """Shows the outcome of an entry, unless all are shown at the end."""
        form = self._arguments.output
        if isinstance(result, Failed):
            self.status = max(self.status, errors.exit_status(result))
            if form == JSONL:
                output.document(errors.to_dict(result))
            elif form != JSON:
                output.flush()
                output.error(f"entry {entry}: {errors.sentence(result)}")
        elif form == TABLE:
            number, customer = self._widths
            name = layout.padded(output.shown(result.customer_id), customer)
            output.line(f"{entry:>{number}}  {result.id}  {name}  {tables.money(result.total)}")
        elif form != JSON:
            printing.lines(self._arguments, [result])

    def end(self, batch: Batch, why: str = "") -> None:
        """Shows the outcome of all, and how to go on where that is not the end."""
        if self._arguments.output == JSON:
            output.document([self._entry(batch, index) for index in range(len(batch.outcomes))])
        output.flush()
        self.sum_up(batch, why)

    def sum_up(self, batch: Batch, why: str) -> None:
        """Counts each kind of outcome, on standard error."""
        placed = sum(isinstance(result, Order) for result in batch.outcomes)
        refused = sum(isinstance(o, Failed) and errors.exit_status(o) == outcome.REFUSED for o in batch.outcomes)
        unasked = len(batch.outcomes) - batch.asked
        open_ = batch.asked - placed - refused
        if open_ or unasked:
            self.status = max(self.status, outcome.NOT_REACHABLE)
        counts = [f"{placed} of {len(batch.outcomes)} orders are placed"]
        others = ((refused, "refused"), (open_, "open"), (unasked, "not asked for"))
        counts += [f"{count} {kind}" for count, kind in others if count]
        again = "; repeat the same command to go on: what is placed is not placed again" if open_ or unasked else ""
        output.error(f"{why}{self._arguments.file}: {', '.join(counts)}{again}")

    def _entry(self, batch: Batch, index: int) -> object:
        result = batch.outcomes[index]
        if isinstance(result, Order):
            return as_json.to_dict(result)
        if isinstance(result, Failed):
            return errors.to_dict(result)
        if index < batch.asked:
            text = "The outcome is open: repeat the same command to learn it; it places nothing twice."
            return outcome.error("CANCELLED", "OUTCOME_OPEN", text)
        return outcome.error("CANCELLED", "NOT_ASKED", "Not asked for: repeat the same command to go on.")
