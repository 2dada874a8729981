"""Reflection, in both versions clients speak: grpc.reflection.v1, and v1alpha, which is the same under its old name.

grpcio-reflection knows v1alpha only, and finds no methods. The messages of both are the same on the wire.
"""

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

_OLD_NAME, _NAME = "grpc.reflection.v1alpha", "grpc.reflection.v1"


def _v1() -> ServiceDescriptor:
    """The service as v1 has it; added to the descriptors there are, so that it can be looked up like any other."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", _NAME
    for message in file.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(_OLD_NAME, _NAME)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_OLD_NAME, _NAME)
        method.output_type = method.output_type.replace(_OLD_NAME, _NAME)
    pool = Default()
    pool.Add(file)
    return pool.FindServiceByName(f"{_NAME}.ServerReflection")


SERVICES: tuple[ServiceDescriptor, ...] = (
    _v1(),
    cast(ServiceDescriptor, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]),
)


class Reflection:
    """Answers what a server serves, and with which messages."""

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = ReflectionServicer(services)

    def answer(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """The answer to one request; not found is an answer, too."""
        response = self._ask(request)
        service, _, method = request.file_containing_symbol.rpartition(".")
        if response.HasField("error_response") and _has(service, method):
            response = self._ask(ServerReflectionRequest(host=request.host, file_containing_symbol=service))
            response.original_request.CopyFrom(request)
        return response

    def _ask(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        # It asks nothing of a context, and answers each request with one response.
        (response,) = self._servicer.ServerReflectionInfo(iter([request]), cast(grpc.ServicerContext, None))
        return cast(ServerReflectionResponse, response)


def _has(service: str, method: str) -> bool:
    try:
        return method in Default().FindServiceByName(service).methods_by_name
    except KeyError:
        return False
