"""base64url without padding (RFC 7515, section 2): the only characters that every hop leaves alone in a cookie."""

import base64


def base64url(data: bytes) -> str:
    """Encode bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
