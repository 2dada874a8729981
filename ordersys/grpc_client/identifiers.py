"""Names for requests."""

import uuid


def new_request_id() -> str:
    """A UUID for a request that was never sent before (AIP-155)."""
    return str(uuid.uuid4())
