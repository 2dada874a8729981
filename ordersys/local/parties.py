"""The settings that each party of a system is given: services, clients, shells, whoever shows it.

All of them follow from its parts; nothing is kept here.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ordersys.identity import layout
from ordersys.local import state
from ordersys.local.broker import FILES, Broker
from ordersys.local.choices import DATABASE_URL, INSECURE, Choices
from ordersys.local.inherited import passed_on
from ordersys.local.listening import Listening, program
from ordersys.local.rabbitmq_security import BrokerSecurity
from ordersys.local.url_files import UrlFiles, without
from ordersys.notification_service.settings import ANY, AUTO
from ordersys.runtime.rabbitmq.tls import CA_FILE
from ordersys.runtime.rabbitmq.urls import AMQP_URL

if TYPE_CHECKING:
    from ordersys.local.identities import Identities

_PUBLISHER_USERS = "ORDERSYS_PUBLISHER_USERS"
_SHOWN = ("_ADDRESS", layout.CA_FILE, layout.TOKEN_FILE)


@dataclass(frozen=True)
class Parties:
    """The parties of the system that has these parts."""

    folder: Path
    choices: Choices
    listening: Listening
    broker: Broker
    identities: "Identities | None"
    database_url: str
    """Empty where the state is kept in files. It may hold a password."""

    @property
    def shared(self) -> dict[str, str]:
        """The settings by which services and clients find each other."""
        database = {DATABASE_URL: self.database_url} if self.database_url else {}
        folder = str(self.folder / "databases")
        secured: dict[str, str] = {}
        if self.identities is not None:
            secured = {**self.identities.of_operator, **self.listening.found_by_services}
            if self.broker.is_private:
                secured[CA_FILE] = str(self.identities.layout.ca)
        return {**self.listening.found_by, AMQP_URL: self.broker.url, state.DATA_DIR: folder, **database, **secured}

    @property
    def exports(self) -> Sequence[str]:
        """The lines that let a shell talk to it. The URL of somebody else's broker may hold a password."""
        values = {name: value for name, value in self.shared.items() if name.endswith(_SHOWN)}
        if self.broker.is_private:
            values[AMQP_URL] = self.broker.url_of_declarer
        return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]

    @property
    def believes_anybody(self) -> bool:
        """True where subscribers take events from whoever may publish, though there are identities."""
        # By a certificate each service is the user of its own name; a user in the URL is that of them all.
        shared = not all(url.is_external for url in self.broker.urls)
        chosen = {**os.environ, **self.choices.settings}.get(_PUBLISHER_USERS, "").strip().lower() or AUTO
        return self.identities is not None and (chosen == ANY or (chosen == AUTO and shared))

    @property
    def url_files(self) -> UrlFiles:
        """The files of the URLs that were given, which may hold a password; none where no service of ours runs."""
        given = {AMQP_URL: self.choices.amqp_url, DATABASE_URL: self.database_url}
        are_ours = {*self.choices.services} - {*self.choices.programs}
        return UrlFiles(self.folder, {name: url for name, url in given.items() if url and are_ours})

    def of_service(self, name: str, links: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process: it listens at one address, and asks the other services at all of theirs.

        `links` are the settings of what it reaches in another way than all others do.
        """
        own = {**links, **self.listening.settings_of(name), INSECURE: str(self.identities is None).lower()}
        own |= {} if self.identities is None else self.identities.of_service(name.partition("-")[0])
        if self.believes_anybody:
            own[_PUBLISHER_USERS] = ANY
        shared = self.shared
        found_by = self.url_files.in_place(shared) if program(self.choices, name) is None else shared
        theirs = without(passed_on(os.environ), shared, (AMQP_URL, DATABASE_URL))
        return {**theirs, **found_by, **own, **self.choices.settings}

    @property
    def of_observer(self) -> dict[str, str]:
        """The environment of whoever shows this system: a private broker stands in the state file."""
        return passed_on(os.environ) | ({} if self.broker.is_private else self._looking)

    def known(self, live: Mapping[str, str]) -> state.Known:
        """The settings of whoever knows the folder, with those of the `live` page."""
        operator = {} if self.identities is None else self.identities.of_operator
        return state.Known(operator, self._looking if self.broker.is_private else {}, live)

    @property
    def _looking(self) -> dict[str, str]:
        """The settings by which somebody may look at queues. The URL of somebody else's broker may hold a password."""
        if self.identities is None:
            return {AMQP_URL: self.broker.url}
        files = BrokerSecurity(self.identities.layout).observer
        return {AMQP_URL: self.broker.url, **{name: str(file) for name, file in zip(FILES, files, strict=True)}}
