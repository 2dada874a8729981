"""Settings that every service has. Those of one service stand in its own package."""

from dataclasses import dataclass
from pathlib import Path

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract.access import AUDIENCE, ISSUER, scopes
from ordersys.contract.addresses import Address
from ordersys.runtime.base import claims, https_url
from ordersys.runtime.base import database_url as database_urls
from ordersys.runtime.base import event_loop as loops
from ordersys.runtime.base.claims import ClaimPath
from ordersys.runtime.base.database_url import DatabaseUrl
from ordersys.runtime.base.settings import (
    InvalidSetting,
    choice,
    number,
    optional_address,
    optional_path,
    path,
    setting,
    switch,
    text,
)
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.tls import Files
from ordersys.runtime.rabbitmq.urls import BrokerUrls

_AMQP_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
_WORDS = {role: word for word, role in scopes().items()}


@dataclass(frozen=True)
class Settings:
    """Settings of every service."""

    amqp_url: BrokerUrls = setting(
        urls.parse(_AMQP_URL),
        urls.parse,
        "the RabbitMQ to use; of a cluster the URLs of its nodes, separated by commas; amqps:// without a user shows"
        " the certificate of this service instead of a password",
        secret=True,
        written=_AMQP_URL,
    )
    amqp_ca_file: Path | None = optional_path(
        "the certificates of the authorities that vouch for RabbitMQ, in PEM, for amqps://; without it those that the"
        " URL names, else those of the system"
    )
    data_dir: Path = path(Path("ordersys-data"), "the folder that holds the process's database; made if missing")
    database_url: DatabaseUrl | None = setting(
        None,
        database_urls.parse,
        "the PostgreSQL that holds the state of all services, each in a schema of its own, instead of files: any number"
        " of processes of a service may share it",
        secret=True,
        written=database_urls.NONE,
    )
    insecure: bool = switch(
        False,
        "whether to serve without an identity: in clear, everybody on this machine may do everything, nobody of another"
        " one reaches it",
    )
    tls_ca_file: Path | None = optional_path(
        "the certificates of the authorities that vouch for services, in PEM; with an identity all connections between"
        " services and with their clients are encrypted, and every caller has to be known"
    )
    tls_certificate_file: Path | None = optional_path(
        "the certificate of this service, in PEM, with those that issued it behind it; taken anew when it changes"
    )
    tls_key_file: Path | None = optional_path("the key of that certificate, which nobody else may read")
    token_keys_file: Path | None = optional_path("the public keys of whoever issues tokens (a JSON Web Key Set)")
    token_keys_url: str | None = setting(
        None,
        https_url.parse,
        "where the issuer publishes these keys, instead of a file (https)",
        written=https_url.NONE,
    )
    token_keys_ca_file: Path | None = optional_path(
        "the certificates of the authorities that vouch for the server of that URL, in PEM; those of the system if none"
    )
    token_keys_seconds: int = number(
        300, 5, 86_400, "how often they are fetched, in seconds: so long a key that is no longer published is good"
    )
    token_issuer: str = text(ISSUER, "whoever issues tokens, as they name it (`iss`)")
    token_audience: str = text(AUDIENCE, "for whom tokens have to be issued (`aud`), among others or alone")
    token_types: frozenset[str] = setting(
        claims.types("at+jwt"),
        claims.types,
        "the accepted `typ` of tokens, separated by commas; `none` is a token without one",
        written="at+jwt",
    )
    token_customer_claim: ClaimPath = setting(
        claims.path("sub"),
        claims.path,
        "the claim that names the caller: of a customer his customer_id; a dot leads into an object, `\\.` is a dot",
    )
    token_roles_claim: ClaimPath = setting(
        claims.path("scope"),
        claims.path,
        "the claim with the roles: a text of words, or a list of words",
    )
    token_customer_role: str = setting(_WORDS[Role.ROLE_CUSTOMER], claims.word, "the word for a customer there")
    token_operator_role: str = setting(_WORDS[Role.ROLE_OPERATOR], claims.word, "the word for an operator there")
    metrics_address: Address | None = optional_address(
        "where metrics are served to Prometheus, at /metrics, to anybody who reaches the address, in clear; without it"
        " nothing is counted"
    )
    log_level: str = choice("info", ("debug", "info", "warning", "error"), "the least urgent level that is logged")
    reflection: bool = switch(False, "whether gRPC reflection is served")
    grace_seconds: int = number(10, 0, 600, "how long SIGTERM waits for calls under way")
    max_concurrent_calls: int = number(
        300,
        1,
        100_000,
        "calls served at a time, and, ten times as many, orders in batches; more are answered RESOURCE_EXHAUSTED",
    )
    max_connections: int = number(900, 1, 100_000, "clients connected at a time; more are sent away")
    max_memory_mib: int = number(
        256,
        160,
        1_048_576,
        "the memory clients can bring the process to, in MiB; who fills it for nothing is disconnected",
    )
    idle_seconds: int = number(300, 1, 86_400, "how long a connection may be without a call")
    # The least takes every request that is valid by itself: of 500 dead letters (17 KB), of a product (9 KB).
    max_message_bytes: int = number(4_194_304, 32_768, 67_108_864, "the largest request taken, in bytes")
    max_metadata_bytes: int = number(8192, 1024, 1_048_576, "the most metadata taken with a call, in bytes")
    event_loop: str = setting(
        loops.AUTO,
        loops.choice,
        "uvloop or asyncio; auto is uvloop where it is installed, which takes less processor time",
    )
    request_retention_hours: int = number(48, 24, 8760, "how long a request_id is remembered, in hours")

    def __post_init__(self) -> None:
        """The broker's URLs know the files from now on. Raises InvalidSetting."""
        files = Files(self.amqp_ca_file, self.tls_certificate_file, self.tls_key_file)
        try:
            identified = urls.identified(self.amqp_url, files)
        except ValueError as error:
            raise InvalidSetting(f"{urls.AMQP_URL} {error}") from None
        object.__setattr__(self, "amqp_url", identified)  # frozen for everybody else
