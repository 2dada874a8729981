"""Passes on what somebody wants broken to the launcher, who alone owns processes; there only with `--break-it`.

Whoever may look may not break: for that there is a token beside the key. It stands behind `#` in the link, too, and is
sent in a header, which no page from elsewhere may send here, and no form.
"""

import asyncio
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from ordersys.live.board import Board
from ordersys.local.breaking import actions
from ordersys.local.breaking.socket_file import NotThere, ask

PATH = "/live/break"
SECTION = "breaking"
HEADER = "X-Ordersys-Token"
_JSON = "application/json"
_SECONDS = 0.5


class Breaking:
    """The way to the launcher that runs with a folder, for whoever has the token."""

    def __init__(self, folder: Path, token: str, board: Board) -> None:
        self._folder, self._token, self._board = folder, token, board

    @property
    def token(self) -> str:
        """The token, for the link."""
        return self._token

    async def run(self) -> None:
        """Shows what is broken, until it is cancelled."""
        while True:
            try:
                state = await ask(self._folder, {"action": actions.STATUS})
            except NotThere as error:
                state = {"error": str(error)}
            self._board.show({SECTION: state})
            await self._board.pause(_SECONDS)

    def expects(self, request: web.Request) -> bool:
        """True for the one kind of request that may change something."""
        return request.method == "POST" and request.path == PATH

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Does what is asked for in the body: 400 for what there is not, 409 for what can't be done now."""
        if trouble := self._trouble(request):
            return trouble
        try:
            await request.content.readexactly(actions.MOST_BYTES + 1)
            return _error(413, f"a request has {actions.MOST_BYTES} bytes at most")
        except asyncio.IncompleteReadError as whole:  # it has ended before, as it should
            octets = whole.partial
        try:
            wanted = json.loads(octets)
        except (ValueError, RecursionError):
            return _error(400, "the body is no JSON")
        try:
            state = await ask(self._folder, wanted)
        except NotThere as error:
            return _error(503, str(error))
        if "error" in state:
            return _error(409 if state.get("conflict") else 400, str(state["error"]))
        self._board.show({SECTION: state})
        return web.json_response(state)

    def _trouble(self, request: web.Request) -> web.Response | None:
        """The refusal of a request that comes from another page, or from somebody who may only look."""
        # The host has been compared with this one's before.
        if request.headers.get("Origin", "") != f"http://{request.host}":
            return _error(403, "only this page itself may ask for that")
        shown = request.headers.get(HEADER, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(shown, self._token.encode()):
            return _error(403, "open the link that was printed when the system was started: it has the token")
        if request.content_type != _JSON:
            return _error(415, f"the body is {_JSON}")
        return None


def _error(status: int, text: str) -> web.Response:
    body: Mapping[str, Any] = {"error": text}
    return web.json_response(body, status=status)
