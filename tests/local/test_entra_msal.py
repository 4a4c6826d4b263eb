"""The real MSAL, with assertions signed by the real Key Vault SDK, against the stand-ins."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msal
import pytest
import requests
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm

from local.cloud.encoding import to_base64url
from local.cloud.server import Addresses
from tests.local.clients import NURSE, REDIRECT_URI, Browser, Control, http_session
from tests.local.key_vault import Vault, create


def vault_assertion(vault: Vault, control: Control) -> Callable[[dict[str, str]], str]:
    """Make a certificate in the vault, register it, and give what signs assertions with it."""
    certificate = create(vault)
    der_base64 = base64.b64encode(bytes(certificate.cer or b"")).decode()
    registered = control("POST", "/certificates", {"der_base64": der_base64})
    client = CryptographyClient(str(certificate.key_id), vault.credential, **vault.options)

    def sign(context: dict[str, str]) -> str:
        now = int(time.time())
        header = {"alg": "PS256", "typ": "JWT", "x5t#S256": registered["x5t_s256"]}
        claims = {
            "aud": context["token_endpoint"],
            "iss": context["client_id"],
            "sub": context["client_id"],
            "jti": str(uuid4()),
            "nbf": now,
            "exp": now + 600,
        }
        signed = ".".join(to_base64url(json.dumps(part).encode()) for part in (header, claims))
        digest = hashlib.sha256(signed.encode()).digest()
        signature = client.sign(SignatureAlgorithm.ps256, digest).signature
        return f"{signed}.{to_base64url(signature)}"

    return sign


def application(
    cloud: Addresses, control: Control, session: requests.Session, assertion: Callable[[dict[str, str]], str]
) -> msal.ConfidentialClientApplication:
    """Give MSAL as production uses it."""
    registration = control("GET", "/application")
    return msal.ConfidentialClientApplication(
        registration["client_id"],
        client_credential={"client_assertion": assertion},
        authority=f"{cloud.authority_host}/{registration['tenant_id']}",
        instance_discovery=False,
        http_client=session,
    )


def test_a_sign_in_from_end_to_end(cloud: Addresses, control: Control, vault: Vault) -> None:
    """MSAL starts, a browser signs in and posts the form, MSAL redeems with a signature of the vault."""
    with http_session(cloud) as session:
        app = application(cloud, control, session, vault_assertion(vault, control))
        flow = app.initiate_auth_code_flow([], redirect_uri=REDIRECT_URI, response_mode="form_post")
        browser, password = Browser(), control("GET", "/people")[0]["password"]
        page = browser.submit(browser.open(flow["auth_uri"]), account=NURSE)
        page = browser.submit(page, password=password)
        result: dict[str, Any] = app.acquire_token_by_auth_code_flow(flow, page.answer)
        accounts = app.get_accounts()
    assert result.get("error") is None, result
    assert result["id_token_claims"]["preferred_username"] == NURSE
    assert accounts[0]["home_account_id"].startswith(result["id_token_claims"]["oid"])
    calls = control("GET", "/calls")
    assert calls["entra"] == {"metadata": 1, "authorize": 1, "login": 2, "token": 1}
    assert calls["vault"]["keys/sign"] == 1


def test_an_error_at_the_token_endpoint_reaches_msal(
    cloud: Addresses, control: Control, vault: Vault
) -> None:
    """MSAL hands on the error, its number and its correlation id."""
    with http_session(cloud) as session:
        app = application(cloud, control, session, vault_assertion(vault, control))
        for certificate in control("GET", "/certificates"):
            control("DELETE", f"/certificates/{certificate['key_id']}")
        result = app.acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert result["error"] == "invalid_client"
    assert result["error_codes"] == [700027]
    assert result["correlation_id"]


def test_an_application_token(cloud: Addresses, control: Control, vault: Vault) -> None:
    """Client credentials, the proof of a certificate by a real token, work through MSAL."""
    with http_session(cloud) as session:
        app = application(cloud, control, session, vault_assertion(vault, control))
        result = app.acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert result["token_type"] == "Bearer"
    assert result["access_token"]


def test_msal_says_that_a_tenant_does_not_exist(cloud: Addresses, control: Control) -> None:
    """A wrong tenant id fails when MSAL reads the metadata."""
    registration = control("GET", "/application")
    with http_session(cloud) as session, pytest.raises(ValueError, match="authority configuration"):
        msal.ConfidentialClientApplication(
            registration["client_id"],
            client_credential={"client_assertion": "unused"},
            authority=f"{cloud.authority_host}/00000000-0000-0000-0000-000000000000",
            instance_discovery=False,
            http_client=session,
        )
