"""Errors of the broker, and those of pika as one of them: where, why, and the way out in words for a person.

BrokerUnavailable    away, or silent, or not ready: the same may succeed later
└── BrokerRefused    there, and refuses until somebody changes something
"""

import ssl

from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from ordersys.runtime.rabbitmq import refusals, tls

_WAYS_OUT = "name the port of RabbitMQ, usually 5672, or use amqps:// where it wants TLS"
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})  # the second from OpenSSL 3.2 on


class BrokerUnavailable(OSError):
    """RabbitMQ can't be used for now; the text says where and why, never a password.

    `code` is the reply code of AMQP where the broker itself has said why, else 0.
    """

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class BrokerRefused(BrokerUnavailable):
    """RabbitMQ is there and refuses, until somebody changes something; the text says what."""


def unavailable(where: str, error: BaseException, method: str = "") -> BrokerUnavailable:
    """A BrokerUnavailable for an error of pika, or of ours, at `where`; `method` is the AMQP method called."""
    if isinstance(error, BrokerUnavailable):
        return error if str(error).startswith(where) else type(error)(f"{where}: {error}", error.code)
    cause = _cause(error)
    if refusal := _refusal(cause):
        return BrokerRefused(f"{where}: {refusal}", refusals.ACCESS_REFUSED)
    if isinstance(cause, ProbableAuthenticationError | ProbableAccessDeniedError):
        # Guessed by pika from the moment at which the connection ended; for sure where the broker has said goodbye.
        kind = BrokerRefused if "ClosedByBroker" in str(cause) else BrokerUnavailable
        return kind(f"{where}: {_reason(cause)}", refusals.ACCESS_REFUSED)
    if isinstance(cause, ChannelClosedByBroker | ConnectionClosedByBroker):
        code, said = cause.reply_code, refusals.explained(cause.reply_code, cause.reply_text, method)
        kind = BrokerRefused if refusals.is_lasting(code, cause.reply_text, method) else BrokerUnavailable
        return kind(f"{where}: {said}", code)
    return BrokerUnavailable(f"{where}: {_reason(cause)}")


def _cause(error: BaseException) -> BaseException:
    """The innermost of pika's errors, which nest and hide their causes."""
    nested = getattr(error, "exceptions", None) or [getattr(error, "exception", None)]
    if isinstance(nested[-1], BaseException):
        return _cause(nested[-1])
    has_cause = isinstance(error, AMQPConnectionError) and error.args and isinstance(error.args[-1], BaseException)
    return _cause(error.args[-1]) if has_cause else error


def _refusal(error: BaseException) -> str:
    """The sentence about certificates that are not accepted, or not asked for; empty for other errors."""
    if isinstance(error, ProbableAuthenticationError):
        return tls.UNKNOWN_USER if "mechanism EXTERNAL" in str(error) else ""
    if isinstance(error, AuthenticationError):
        return tls.not_offered(str(error.args[-1]) if error.args else "")
    return tls.refusal(error)


def _reason(error: BaseException) -> str:
    """One of pika's errors in words for a person."""
    if isinstance(error, ProbableAuthenticationError):
        return "it refuses the user or the password"
    if no_broker := _no_broker(error):
        return no_broker
    if isinstance(error, ProbableAccessDeniedError):
        said = f" ({error.args[-1]})" if error.args and "ClosedByBroker" in str(error.args[-1]) else ""
        return f"it has no such virtual host, or the user may not use it, or no more connections to it{said}"
    if isinstance(error, AMQPConnectionError) and error.args:
        return str(error.args[-1])
    return str(error) or type(error).__name__


def _no_broker(error: BaseException) -> str:
    """The sentence about a peer that is no RabbitMQ, or is spoken to in the wrong way; empty for other errors."""
    if isinstance(error, IncompatibleProtocolError):
        return f"what listens there does not speak AMQP 0-9-1; {_WAYS_OUT}"
    if isinstance(error, ConnectionOpenAborted | AMQPConnectorStackTimeout):
        return f"what listens there does not answer as RabbitMQ does; if it is no RabbitMQ that hangs, {_WAYS_OUT}"
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "what listens there does not speak TLS; use amqp://, or name RabbitMQ's port for TLS, usually 5671"
    return ""
