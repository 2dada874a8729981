"""Laws of the contract itself."""
