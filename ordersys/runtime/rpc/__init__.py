"""gRPC servers: rules held, admission, limits, health. The only home of grpc servers."""
