"""Limits that gRPC's core enforces before a call reaches Python: sizes, counts, times, pings.

Names and meaning of the options: grpc/impl/channel_arg_names.h of gRPC 1.85; those that stand nowhere in its
documentation say where they were found.
"""

from ordersys.runtime.settings import Settings

_IDENTITY_ONLY = 1  # bit set of GRPC_COMPRESS_NONE: a compressed request could grow without bound
# What a client may take to speak HTTP/2 at all: to send its SETTINGS, and to acknowledge ours. The limit on metadata
# counts from that acknowledgement on: until then HTTP/2 has none, and gRPC allows 16 MiB a call (http2_settings.h).
_OPEN_MILLISECONDS = 5_000
_PING_MILLISECONDS = 30_000  # a peer that is silent for that long is asked whether it is still there
_PONG_MILLISECONDS = 10_000
# Pings of clients, as product_service.proto and order_service.proto allow them: one every 10 s, idle or not. gRPC
# counts those that come sooner than this after the last one, and sends away whoever has sent more of them than this.
_LEAST_PING_MILLISECONDS = 5_000
_EARLY_PINGS = 2
_AGE_MILLISECONDS = 3_600_000  # what a client has not taken by then is thrown away; others connect again unnoticed
# Names are resolved again when a connection ends: a new process of a service that shares a database gets its first
# calls then. gRPC adds up to 10 % either way.
_SHARED_AGE_MILLISECONDS = 45_000
# A certificate is looked at when a connection begins: one that is trusted no more is worth nothing after that.
_SERVICES_AGE_MILLISECONDS = 600_000
_PARTING_MILLISECONDS = 30_000  # for calls under way on a connection that has been told to go
# As much is read at a time, and kept for the next read, at most: gRPC's own buffer grows with what comes, per
# connection and without an end.
_READ_BYTES = 262_144


def options(settings: Settings, of_services: bool = False) -> list[tuple[str, int]]:
    """The options of a server; of one for services alone, which are known by the certificate of their connection."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # Answers are bounded by the contract (a page has 2 MiB at most), and larger than requests: an order in a batch
        # grows by its total and its times. One over a limit would be lost although what it tells of was done.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # Some more than are admitted: those are told when to come again, which grpc would not.
        ("grpc.max_concurrent_streams", 2 * settings.max_concurrent_calls),
        # What is not even looked at yet waits in order, and makes those behind it wait: as many may come at once as are
        # admitted, of more than that grpc itself sends away some, and from half as many again on all (CANCELLED).
        ("grpc.server.max_pending_requests", settings.max_concurrent_calls),
        ("grpc.server.max_pending_requests_hard_limit", 3 * settings.max_concurrent_calls // 2),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", 1000 * settings.idle_seconds),
        ("grpc.server_handshake_timeout_ms", _OPEN_MILLISECONDS),
        ("grpc.http2.settings_timeout", _OPEN_MILLISECONDS),  # chttp2_transport.cc: GRPC_ARG_SETTINGS_TIMEOUT
        ("grpc.max_connection_age_ms", _age(settings, of_services)),
        ("grpc.max_connection_age_grace_ms", _PARTING_MILLISECONDS),
        ("grpc.keepalive_time_ms", _PING_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", _PONG_MILLISECONDS),
        # Else a connection without calls may ping once in two hours (ping_abuse_policy.cc).
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MILLISECONDS),
        ("grpc.http2.max_ping_strikes", _EARLY_PINGS),
        ("grpc.experimental.tcp_max_read_buffer_size", _READ_BYTES),
        # Refused calls would be kept for up to a second, to slow down whoever made them: memory that clients fill.
        ("grpc.http.tarpit", 0),  # transport_common.h: GRPC_ARG_HTTP_ALLOW_TARPIT
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ]


def _age(settings: Settings, of_services: bool) -> int:
    if settings.database_url is not None:
        return _SHARED_AGE_MILLISECONDS
    return _SERVICES_AGE_MILLISECONDS if of_services else _AGE_MILLISECONDS
