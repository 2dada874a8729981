"""Makes and checks what belongs to the contract: stubs, documents, compatibility. Not needed by what runs."""
