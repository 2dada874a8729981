"""The laws of the contract, by subject."""
