"""The token endpoint: which client, which code, which ID token."""

import base64
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.encoding import to_base64url
from tests.local.clients import DOCTOR, NURSE, VISITOR, Browser, Client, Control, made_certificate

CERTIFICATE_ERRORS = (700027, 700024, 7000214, 1000502, 7000274, 7000277)
_MINUTE = 60


def test_metadata_keeps_programs_on_https_and_people_on_http(client: Client) -> None:
    """What MSAL calls needs the CA; what a browser opens needs no exception."""
    metadata = client.http.get(f"{client.base}/v2.0/.well-known/openid-configuration", timeout=10).json()
    assert metadata["issuer"] == f"{client.base}/v2.0"
    for name in ("token_endpoint", "jwks_uri"):
        assert metadata[name].startswith(client.base)
    for name in ("authorization_endpoint", "end_session_endpoint"):
        assert metadata[name].startswith(client.addresses.browser_url)


@pytest.mark.parametrize("path", ["/v2.0/.well-known/openid-configuration", "/discovery/v2.0/keys"])
def test_an_unknown_tenant_is_not_found(client: Client, path: str) -> None:
    """A tenant that does not exist answers AADSTS90002."""
    answer = client.http.get(f"{client.addresses.authority_host}/nowhere.example{path}", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error_codes"] == [90002]


def test_id_token_has_the_v2_shape(client: Client) -> None:
    """The claims are those of Entra v2, the header names RS256 and a published key."""
    token = client.redeem(client.code())["id_token"]
    header, claims = jwt.get_unverified_header(token), client.id_token()
    assert header["typ"] == "JWT"
    assert header["alg"] == "RS256"
    expected = {
        "aud": client.application["client_id"],
        "iss": f"{client.base}/v2.0",
        "name": "Nurse",
        "nonce": "the-nonce",
        "preferred_username": NURSE,
        "tid": client.application["tenant_id"],
        "ver": "2.0",
    }
    assert claims.items() >= expected.items()
    others = {"auth_time", "exp", "iat", "login_hint", "nbf", "oid", "rh", "sid", "sub", "uti"}
    assert claims.keys() == expected.keys() | others
    assert claims["iat"] == claims["nbf"]
    assert claims["exp"] - claims["iat"] == 65 * _MINUTE


def test_subject_is_pairwise_and_not_the_object_id(client: Client) -> None:
    """`sub` stays for a person and an application, and differs from `oid` and between people."""
    nurse, again, doctor = client.id_token(), client.id_token(), client.id_token(username=DOCTOR)
    assert nurse["sub"] == again["sub"]
    assert len({nurse["sub"], nurse["oid"], doctor["sub"], doctor["oid"]}) == 4


def test_roles_are_there_only_where_assigned(client: Client) -> None:
    """App roles are in the token of who has them, and absent otherwise."""
    assert client.id_token(username=DOCTOR)["roles"] == ["SOS.Admin"]
    assert "roles" not in client.id_token()


def test_optional_claims_can_be_left_out(client: Client, control: Control) -> None:
    """`sid`, `login_hint` and `auth_time` are there only where the application asks for them."""
    control("PUT", "/application", {"optional_claims": ["sid"]})
    assert client.id_token().keys() & {"sid", "login_hint", "auth_time"} == {"sid"}


@pytest.mark.parametrize(
    ("algorithm", "header"), [("PS256", "x5t#S256"), ("RS256", "x5t#S256"), ("RS256", "x5t")]
)
def test_assertions_of_a_registered_certificate_are_accepted(
    client: Client, algorithm: str, header: str
) -> None:
    """Both algorithms work, with the SHA-256 or the SHA-1 thumbprint, for token endpoint or issuer."""
    sha1 = to_base64url(client.certificate.fingerprint(hashes.SHA1()))  # noqa: S303 - x5t is SHA-1 by definition
    thumbprints: dict[str, Any] = {"x5t#S256": None, "x5t": sha1} if header == "x5t" else {}
    for audience in (f"{client.base}/oauth2/v2.0/token", f"{client.base}/v2.0"):
        assertion = client.assertion({"alg": algorithm} | thumbprints, aud=audience)
        assert client.redeem(client.code(), client_assertion=assertion)["status"] == 200


def _now() -> int:
    return int(time.time())


@pytest.mark.parametrize(
    ("header", "claims", "number"),
    [
        ({"x5t#S256": "another"}, {}, 700027),
        ({"x5t": "another"}, {}, 700027),
        ({"x5t#S256": None}, {}, 5002723),
        ({"alg": "RS512"}, {}, 5002738),
        ({"typ": "at+jwt"}, {}, 5002738),
        ({}, {"aud": "https://elsewhere.example"}, 700023),
        ({}, {"iss": "another"}, 700021),
        ({}, {"sub": "another"}, 700021),
        ({}, {"jti": None}, 50027),
        ({}, {"exp": None}, 50027),
        ({}, {"exp": "soon"}, 50027),
        ({}, {"exp": 1_000_000_000}, 700024),
        ({}, {"nbf": 4_000_000_000, "exp": 4_000_000_600}, 700024),
    ],
)
def test_a_refused_assertion_does_not_use_the_code_up(
    client: Client, header: dict[str, Any], claims: dict[str, Any], number: int
) -> None:
    """Each fault of an assertion has its number and is a 401; the code can be tried again."""
    code = client.code()
    refused = client.redeem(code, client_assertion=client.assertion(header, **claims))
    assert (refused["status"], refused["error"]) == (401, "invalid_client")
    assert refused["error_codes"] == [number]
    assert refused["error_description"].startswith(f"AADSTS{number}: ")
    assert refused.keys() >= {"timestamp", "trace_id", "correlation_id"}
    assert client.redeem(code)["status"] == 200


def test_a_forged_signature_is_refused(client: Client) -> None:
    """The right thumbprint over another key's signature is AADSTS700027; so is `alg: none` refused."""
    forger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    thumbprint = to_base64url(client.certificate.fingerprint(hashes.SHA256()))
    claims = jwt.decode(client.assertion(), options={"verify_signature": False})
    forged = jwt.encode(claims, forger, algorithm="PS256", headers={"x5t#S256": thumbprint})
    assert client.redeem(client.code(), client_assertion=forged)["error_codes"] == [700027]
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"x5t#S256": thumbprint})
    assert client.redeem(client.code(), client_assertion=unsigned)["error_codes"] == [5002738]
    assert client.redeem(client.code(), client_assertion="no-jwt")["error_codes"] == [50027]


def test_an_expired_certificate_is_refused(client: Client, control: Control) -> None:
    """A registered certificate outside its validity is AADSTS1000502."""
    certificate, der_base64 = made_certificate(client.key, lifetime=timedelta(hours=23))
    control("POST", "/certificates", {"der_base64": der_base64})
    thumbprint = to_base64url(certificate.fingerprint(hashes.SHA256()))
    assertion = client.assertion({"x5t#S256": thumbprint})
    assert client.redeem(client.code(), client_assertion=assertion)["error_codes"] == [1000502]


def test_a_removed_certificate_is_refused(client: Client, control: Control) -> None:
    """Once a key credential is gone, its assertions are AADSTS700027."""
    for certificate in control("GET", "/certificates"):
        control("DELETE", f"/certificates/{certificate['x5t_s256']}")
    assert client.redeem(client.code())["error_codes"] == [700027]


def test_a_client_without_assertion_or_with_a_secret_is_refused(client: Client) -> None:
    """Only certificates authenticate the client."""
    code = client.code()
    assert client.redeem(code, client_assertion_type="")["error_codes"] == [7000218]
    assert client.redeem(code, client_secret="guess")["error_codes"] == [7000215]


@pytest.mark.parametrize("number", CERTIFICATE_ERRORS)
def test_certificate_errors_can_be_forced(client: Client, control: Control, number: int) -> None:
    """Each of the six certificate errors strikes as often as told, and the code survives."""
    control("POST", "/certificate-errors", {"code": number, "times": 2})
    code = client.code()
    assert [client.redeem(code).get("error_codes") for _ in range(3)] == [[number], [number], None]


def test_a_code_works_once(client: Client) -> None:
    """The second use is AADSTS54005."""
    code = client.code()
    assert client.redeem(code)["status"] == 200
    again = client.redeem(code)
    assert (again["status"], again["error"], again["error_codes"]) == (400, "invalid_grant", [54005])


def test_a_code_lives_ten_minutes(client: Client, control: Control) -> None:
    """After ten minutes it is AADSTS70008; a moment before it works."""
    early, late = client.code(), client.code()
    control("POST", "/clock", {"offset_seconds": 10 * _MINUTE - 5})
    assert client.redeem(early)["status"] == 200
    control("POST", "/clock", {"offset_seconds": 10 * _MINUTE + 5})
    expired = client.redeem(late, client_assertion=client.assertion(nbf=_now(), exp=_now() + 3600))
    assert (expired["status"], expired["error"], expired["error_codes"]) == (400, "invalid_grant", [70008])


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"code": "1.unknown"}, 9002313),
        ({"redirect_uri": "http://localhost:7071/"}, 500112),
        ({"code_verifier": ""}, 50148),
        ({"code_verifier": "another-verifier-of-at-least-forty-three-characters"}, 501481),
    ],
)
def test_a_grant_that_does_not_fit_is_refused(client: Client, changes: dict[str, str], number: int) -> None:
    """Code, redirect URI and verifier must be those of the authorization request."""
    refused = client.redeem(client.code(), **changes)
    assert (refused["status"], refused["error"], refused["error_codes"]) == (400, "invalid_grant", [number])


@pytest.mark.parametrize(
    ("changes", "error", "number"),
    [
        ({"grant_type": ""}, "invalid_request", 900144),
        ({"grant_type": "password"}, "unsupported_grant_type", 70003),
        ({"client_id": "another"}, "unauthorized_client", 700016),
    ],
)
def test_a_malformed_token_request_is_refused(
    client: Client, changes: dict[str, str], error: str, number: int
) -> None:
    """What the endpoint cannot serve has its own error."""
    refused = client.redeem("any", **changes)
    assert (refused["status"], refused["error"], refused["error_codes"]) == (400, error, [number])


def test_a_new_signing_key_is_published_beside_the_old(client: Client, control: Control) -> None:
    """After a rollover the new key signs and the old stays published, until it is removed."""
    before = client.redeem(client.code())["id_token"]
    old_kid = jwt.get_unverified_header(before)["kid"]
    kids = control("POST", "/rollover")["kids"]
    published = client.http.get(f"{client.base}/discovery/v2.0/keys", timeout=10).json()["keys"]
    assert [key["kid"] for key in published] == kids
    assert old_kid in kids[1:]
    after = client.redeem(client.code())["id_token"]
    assert jwt.get_unverified_header(after)["kid"] == kids[0]
    assert control("POST", "/rollover", {"keep_old": False})["kids"][1:] == []


def test_published_keys_carry_their_certificate(client: Client) -> None:
    """Each key names its issuer and its certificate, whose key it is."""
    key = client.http.get(f"{client.base}/discovery/v2.0/keys", timeout=10).json()["keys"][0]
    assert (key["kty"], key["use"], key["kid"], key["issuer"]) == (
        "RSA",
        "sig",
        key["x5t"],
        f"{client.base}/v2.0",
    )
    pem = f"-----BEGIN CERTIFICATE-----\n{key['x5c'][0]}\n-----END CERTIFICATE-----\n"
    public_key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert to_base64url(public_key.public_numbers().n.to_bytes(256)) == key["n"]


def test_the_clock_shifts_tokens_and_the_date(client: Client, control: Control) -> None:
    """Entra's clock moves the times of its tokens, its Date header, and how it judges assertions."""
    before = client.id_token()
    control("POST", "/clock", {"offset_seconds": -4 * _MINUTE, "service": "entra"})
    after = client.id_token()
    assert 3 * _MINUTE < before["iat"] - after["iat"] <= 4 * _MINUTE
    control("POST", "/clock", {"offset_seconds": 20 * _MINUTE})
    assert client.redeem("any")["error_codes"] == [700024]
    answer = client.http.get(f"{client.base}/discovery/v2.0/keys", timeout=10)
    assert time.strftime("%H:%M", time.gmtime(time.time() + 20 * _MINUTE)) in answer.headers["date"]


def test_client_credentials_need_a_default_scope(client: Client) -> None:
    """An application token comes for `/.default` only."""
    form = {"grant_type": "client_credentials", "code_verifier": "", "redirect_uri": ""}
    answer = client.redeem(**form, scope="https://graph.microsoft.com/.default")
    assert answer["status"] == 200
    assert answer["token_type"] == "Bearer"
    assert "id_token" not in answer
    refused = client.redeem(**form, scope="User.Read")
    assert (refused["error"], refused["error_codes"]) == ("invalid_scope", [1002012])


def test_sign_out_ends_the_session_and_tells_the_application(client: Client, control: Control) -> None:
    """The page loads the front-channel address with `sid` and `iss`, then leads on; nobody is signed in."""
    browser = Browser()
    sid = client.id_token(browser)["sid"]
    front_channel = control("GET", "/application")["front_channel_logout_url"]
    url = f"{client.addresses.browser_url}/{client.application['tenant_id']}/oauth2/v2.0/logout"
    page = browser.open(f"{url}?post_logout_redirect_uri=http://localhost:7071/&state=on")
    issuer = quote(f"{client.base}/v2.0", safe="")
    assert page.frames == [f"{front_channel}?sid={sid}&iss={issuer}"]
    assert 'href="http://localhost:7071/?state=on"' in page.text
    assert "Pick an account" in browser.open(client.authorize_url()).text


def test_sign_out_without_a_front_channel_redirects_at_once(client: Client, control: Control) -> None:
    """With nobody to tell there is no page; an address that is not registered is never redirected to."""
    control("PUT", "/application", {"front_channel_logout_url": ""})
    url = f"{client.addresses.browser_url}/{client.application['tenant_id']}/oauth2/v2.0/logout"
    for target, location in (
        ("http://localhost:7071/", "http://localhost:7071/"),
        ("https://evil.example/", ""),
    ):
        browser = Browser()
        client.sign_in(browser)
        page = browser.open(f"{url}?post_logout_redirect_uri={target}")
        assert page.location == location
        assert "evil" not in page.text


def test_sign_out_tells_only_applications_that_were_signed_in_to(client: Client) -> None:
    """A person whom the application never got has a session at Entra, and nobody to tell about its end."""
    browser = Browser()
    assert "AADSTS50105" in client.sign_in(browser, VISITOR).text
    url = f"{client.addresses.browser_url}/{client.application['tenant_id']}/oauth2/v2.0/logout"
    assert browser.open(url).frames == []


def test_logout_hint_signs_one_person_out(client: Client) -> None:
    """With two people in a browser, the hint chooses; the other stays signed in."""
    browser = Browser()
    hint = client.id_token(browser)["login_hint"]
    client.sign_in(browser, DOCTOR, prompt="select_account")
    url = f"{client.addresses.browser_url}/{client.application['tenant_id']}/oauth2/v2.0/logout"
    page = browser.open(f"{url}?logout_hint={hint}")
    assert len(page.frames) == 1
    assert "code" in browser.open(client.authorize_url(prompt="none", login_hint=DOCTOR)).answer
    assert "error" in browser.open(client.authorize_url(prompt="none", login_hint=NURSE)).answer


def test_a_certificate_is_registered_once(client: Client, control: Control) -> None:
    """Registering the same certificate again answers the same key credential."""
    (known,) = control("GET", "/certificates")
    assert control("POST", "/certificates", {"der_base64": known["der_base64"]}) == known
    assert control("GET", "/certificates") == [known]
    assert known["thumbprint"] == client.certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - x5t is SHA-1


def test_only_rsa_certificates_can_be_registered(client: Client, control: Control) -> None:
    """Something that is no certificate, or no RSA one, is a 400 and registers nothing."""
    known = control("GET", "/certificates")
    elliptic = x509.load_pem_x509_certificate(Path(client.addresses.ca_file).read_bytes())
    elliptic_base64 = base64.b64encode(elliptic.public_bytes(Encoding.DER)).decode()
    url = f"{client.addresses.control_url}/certificates"
    for der_base64 in ("AAAA", "%%%", "", elliptic_base64):
        assert client.http.post(url, json={"der_base64": der_base64}, timeout=10).status_code == 400
    assert control("GET", "/certificates") == known
