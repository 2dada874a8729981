"""ordersys: a contract-first order system on gRPC and RabbitMQ."""

import os

# gRPC writes a line to standard error for each connection that does not come about, which anybody can make, beside a
# log of one JSON object a line. To be set before gRPC is imported (grpc, doc/environment_variables.md).
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
