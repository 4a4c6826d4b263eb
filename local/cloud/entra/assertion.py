"""The client assertion (RFC 7523): signed by a registered certificate, by this client, for us, now."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import jwt

from local.cloud.entra.errors import EntraError
from local.cloud.entra.state import RegisteredCertificate
from local.cloud.web import Json

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = ("PS256", "RS256")
_CLOCK_SKEW = timedelta(minutes=5)

CERTIFICATE_ERRORS = {
    700027: "The certificate is not registered, or the client assertion's signature is invalid.",
    700024: "Client assertion is not within its valid time range.",
    7000214: "The certificate used to sign the client assertion has been revoked.",
    1000502: "The provided certificate is not within its specified validity period.",
    7000274: "The provided certificate is not accepted for this application.",
    7000277: "The provided certificate could not be used to authenticate the application.",
}
"""The errors that mean: reload the credential. Only the numbers are Microsoft's."""


def check_assertion(
    assertion: str,
    client_id: str,
    audiences: Collection[str],
    certificates: Sequence[RegisteredCertificate],
    now: datetime,
) -> None:
    """Return when the assertion authenticates the client. Raises EntraError (invalid_client) otherwise."""
    try:
        header = jwt.get_unverified_header(assertion)
        unverified = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise _refused(50027, "JWT token is invalid or malformed.") from error
    if header.get("alg") not in _ALGORITHMS or header.get("typ", "JWT") != "JWT":
        raise _refused(5002738, f"Invalid JWT token. Supported signing algorithms are {_ALGORITHMS}.")
    registered = _choose(header, certificates)
    try:
        jwt.PyJWS().decode(assertion, registered.public_key(), algorithms=[header["alg"]])
    except jwt.PyJWTError as error:
        reason = f"Thumbprint of key used by client: '{registered.thumbprint}'"
        raise _refused(
            700027, f"Client assertion failed signature validation. [Reason - {reason}]"
        ) from error
    certificate = registered.certificate()
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise _refused(1000502, CERTIFICATE_ERRORS[1000502])
    _check_claims(unverified, client_id, audiences, now)


def _choose(header: Json, certificates: Sequence[RegisteredCertificate]) -> RegisteredCertificate:
    if not {"x5t", "x5t#S256"} & header.keys():
        raise _refused(5002723, "Invalid JWT token. No certificate thumbprint specified in token header.")
    for certificate in certificates:
        given = header.get("x5t#S256", certificate.x5t_s256), header.get("x5t", certificate.x5t)
        if given == (certificate.x5t_s256, certificate.x5t):
            return certificate
    text = "The certificate used to sign the client assertion is not registered on application. "
    used = header.get("x5t#S256") or header.get("x5t")
    raise _refused(
        700027, f"{text}[Reason - The key was not found., Thumbprint of key used by client: '{used}']"
    )


def _check_claims(claims: Json, client_id: str, audiences: Collection[str], now: datetime) -> None:
    for name in ("aud", "exp", "iss", "jti", "nbf", "sub"):
        if name not in claims:
            raise _refused(50027, f"JWT token is invalid or malformed: '{name}' is missing.")
    if claims["iss"] != client_id or claims["sub"] != client_id:
        raise _refused(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
    if claims["aud"] not in audiences:
        raise _refused(700023, "Client assertion audience claim does not match Realm issuer.")
    skew, seconds = _CLOCK_SKEW.total_seconds(), now.timestamp()
    times = claims["nbf"], claims["exp"]
    if not all(isinstance(t, int | float) for t in times):
        raise _refused(50027, "JWT token is invalid or malformed: a time is not a number.")
    if not times[0] - skew <= seconds <= times[1] + skew:
        raise _refused(700024, CERTIFICATE_ERRORS[700024])


def _refused(number: int, text: str) -> EntraError:
    return EntraError(number, "invalid_client", text)
