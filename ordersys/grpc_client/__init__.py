"""The gRPC client: a command line for people and programs, and a demo that reconciles. Knows the contract only."""
