"""The Graph stand-in: an application that rolls its own certificates."""

import base64
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.local.clients import Client, Control
from tests.local.graph import AUDIENCE, Credential, GraphClient, new_credential

_MINUTE = 60
_DAY = 24 * 60 * _MINUTE


@pytest.fixture
def graph(client: Client) -> GraphClient:
    """Give the application with its one registered certificate."""
    return GraphClient(client, Credential(client.key, client.certificate))


@pytest.fixture
def another(key: rsa.RSAPrivateKey) -> Credential:
    """Make a certificate that is not registered."""
    return new_credential(key)


def error_of(answer: Any) -> tuple[int, str]:  # noqa: ANN401 - a response of either library
    """Give status and code; the rest of the error must have Graph's shape."""
    error = answer.json()["error"]
    assert error["message"]
    assert error["innerError"].keys() == {"request-id", "client-request-id"}
    return answer.status_code, error["code"]


def key_ids(control: Control) -> list[str]:
    """Give the ids of the registered certificates."""
    return [c["key_id"] for c in control("GET", "/certificates")]


# addKey


def test_add_key_answers_the_key_credential(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """The answer names the new key and carries no key material; the older certificate stays."""
    (old,) = key_ids(control)
    answer = graph.add(another)
    assert answer.status_code == 200
    certificate = another.certificate
    key_id = answer.json()["keyId"]
    assert answer.json() == {
        "@odata.context": f"{graph.client.addresses.graph_url}/v1.0/$metadata#microsoft.graph.keyCredential",
        "customKeyIdentifier": base64.b64encode(certificate.fingerprint(hashes.SHA1())).decode(),  # noqa: S303 - as above
        "displayName": certificate.subject.rfc4514_string(),
        "endDateTime": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "key": None,
        "keyId": key_id,
        "startDateTime": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }
    assert key_ids(control) == [old, key_id]
    assert graph.try_token(another)["status"] == 200


def test_the_application_can_be_named_by_its_client_id(graph: GraphClient, another: Credential) -> None:
    """`applications(appId='…')` is the same object; another id is a 404."""
    client = graph.client
    url = f"{client.addresses.graph_url}/v1.0/applications(appId='{client.application['client_id']}')/addKey"
    key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": another.der_base64}
    body = {"keyCredential": key, "passwordCredential": None, "proof": graph.proof()}
    headers = {"Authorization": f"Bearer {graph.token()}"}
    assert client.http.post(url, json=body, headers=headers, timeout=10).status_code == 200
    wrong = url.replace(client.application["client_id"], client.application["object_id"])
    answer = client.http.post(wrong, json=body, headers=headers, timeout=10)
    assert error_of(answer) == (404, "Request_ResourceNotFound")


@pytest.mark.parametrize(
    "changes",
    [
        {"keyCredential": None},
        {"keyCredential": {"type": "X509CertAndPassword", "usage": "Sign", "key": "AAAA"}},
        {"keyCredential": {"type": "AsymmetricX509Cert", "usage": "Sign", "key": "AAAA"}},
        {"keyCredential": {"type": "AsymmetricX509Cert", "usage": "Verify"}},
        {"keyCredential": {"type": "AsymmetricX509Cert", "usage": "Verify", "key": "AAAA"}},
        {"keyCredential": {"type": "AsymmetricX509Cert", "usage": "Verify", "key": "%%%"}},
        {"passwordCredential": {"secretText": "guess"}},
    ],
)
def test_a_malformed_key_is_refused(
    graph: GraphClient, another: Credential, control: Control, changes: dict[str, Any]
) -> None:
    """Another type or usage, no certificate, or a password is a 400, and nothing is registered."""
    assert error_of(graph.add(another, **changes)) == (400, "Request_BadRequest")
    assert len(key_ids(control)) == 1


def test_a_body_that_is_no_json_is_refused(graph: GraphClient) -> None:
    """It is a 400 in Graph's own format."""
    assert error_of(graph.request("POST", "/addKey", ["no", "object"])) == (400, "BadRequest")


def test_a_certificate_added_twice_has_two_key_ids(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """By default a second call makes a second key credential."""
    first, second = graph.add(another).json()["keyId"], graph.add(another).json()["keyId"]
    assert first != second
    assert key_ids(control)[1:] == [first, second]
    assert graph.remove(first).status_code == 204
    assert graph.try_token(another)["status"] == 200


def test_a_duplicate_can_be_refused(graph: GraphClient, another: Credential, control: Control) -> None:
    """Set so, the same certificate is registered once."""
    control("PUT", "/graph", {"duplicates": "refused"})
    assert graph.add(another).status_code == 200
    assert error_of(graph.add(another)) == (400, "Request_BadRequest")
    assert len(key_ids(control)) == 2


@pytest.mark.parametrize(
    ("policy", "status", "code"),
    [
        ("lifetime", 400, "CredentialInvalidLifetimeAsPerAppPolicy"),
        ("trusted_ca", 400, "CredentialInvalidTypeAsPerAppPolicy"),
        ("forbidden", 403, "Authorization_RequestDenied"),
    ],
)
def test_a_policy_can_refuse_keys(
    graph: GraphClient, another: Credential, control: Control, policy: str, status: int, code: str
) -> None:
    """A tenant may not allow addKey; removing goes on, and a reset ends it."""
    control("PUT", "/graph", {"refuse_add": policy})
    assert error_of(graph.add(another)) == (status, code)
    assert len(key_ids(control)) == 1
    control("POST", "/certificates", {"der_base64": another.der_base64})
    assert graph.remove(key_ids(control)[1]).status_code == 204
    control("POST", "/reset")
    assert graph.add(another).status_code == 200


# The access token


def test_a_request_needs_a_token_of_the_application(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """No token, a guess, and a token for another resource are 401s that change nothing."""
    elsewhere = graph.try_token(scope="https://vault.azure.net/.default")["access_token"]
    delegated = graph.client.redeem(graph.client.code())["access_token"]
    for token in ("", "guess", elsewhere, delegated):
        answer = graph.request("POST", "/addKey", {"proof": graph.proof()}, token)
        assert error_of(answer) == (401, "InvalidAuthenticationToken")
    public = graph.try_token(scope="https://graph.microsoft.com/.default")["access_token"]
    assert graph.request("POST", "/addKey", {"proof": graph.proof()}, public).status_code == 400
    assert graph.try_token(another)["status"] == 401
    assert control("GET", "/calls")["graph"] == {"addKey": 5}


def test_a_token_ends_after_an_hour(graph: GraphClient, control: Control) -> None:
    """By Entra's clock."""
    token = graph.token()
    for minutes, status in ((59, 403), (60, 401)):
        control("POST", "/clock", {"offset_seconds": minutes * _MINUTE})
        assert graph.request("GET", token=token).status_code == status


# The proof


def _proofs(graph: GraphClient) -> dict[str, str]:
    now = int(time.time())
    good = graph.proof()
    head, payload, signature = good.split(".")
    return {
        "absent": "",
        "no jwt": "guess",
        "padded": good + "=",
        "x5t padded": graph.proof({"x5t": graph.credential.x5t + "="}),
        "no x5t": graph.proof({"x5t": None}),
        "another x5t": graph.proof({"x5t": "another"}),
        "PS256": graph.proof({"alg": "PS256"}),
        "RS512": graph.proof({"alg": "RS512"}),
        "forged": f"{head}.{payload}.{signature[::-1]}",
        "audience": graph.proof(aud="https://graph.microsoft.com"),
        "client id as issuer": graph.proof(iss=graph.client.application["client_id"]),
        "no issuer": graph.proof(iss=None),
        "no nbf": graph.proof(nbf=None),
        "no exp": graph.proof(exp=None),
        "eleven minutes": graph.proof(nbf=now - 120, exp=now - 120 + 11 * _MINUTE),
        "over": graph.proof(nbf=now - 900, exp=now - 310),
        "not begun": graph.proof(nbf=now + 310, exp=now + 900),
        "times that are no numbers": graph.proof(nbf="now", exp="soon"),
    }


def test_a_proof_with_a_fault_is_refused(graph: GraphClient, another: Credential, control: Control) -> None:
    """Every fault is the same 401, for adding and for removing, and nothing changes."""
    before, token = key_ids(control), graph.token()
    key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": another.der_base64}
    for fault, proof in _proofs(graph).items():
        body = {"keyCredential": key, "passwordCredential": None, "keyId": before[0], "proof": proof}
        for path in ("/addKey", "/removeKey"):
            answer = graph.request("POST", path, body, token)
            assert error_of(answer) == (401, "Authentication_MissingOrMalformed"), fault
    assert key_ids(control) == before


def test_a_proof_may_be_a_little_early_or_late(graph: GraphClient, another: Credential) -> None:
    """Clocks may differ by five minutes, and a proof lives ten at most."""
    now = int(time.time())
    for nbf, exp in ((now - 890, now - 290), (now + 290, now + 890)):
        assert graph.add(another, proof=graph.proof(aud=AUDIENCE, nbf=nbf, exp=exp)).status_code == 200


def test_a_proof_comes_from_a_registered_certificate(graph: GraphClient, another: Credential) -> None:
    """One that is not registered proves nothing; registered, it may do everything."""
    stranger = replace(graph, credential=another)
    assert error_of(graph.add(another, proof=stranger.proof()))[0] == 401
    key_id = graph.add(another).json()["keyId"]
    assert graph.add(another, proof=stranger.proof()).status_code == 200
    assert graph.remove(key_id, proof=stranger.proof()).status_code == 204


def test_an_expired_certificate_proves_nothing(
    graph: GraphClient, another: Credential, key: rsa.RSAPrivateKey, control: Control
) -> None:
    """It is registered, and its proof is a 401 all the same."""
    expired = new_credential(key, timedelta(hours=23))
    control("POST", "/certificates", {"der_base64": expired.der_base64})
    answer = graph.add(another, proof=replace(graph, credential=expired).proof())
    assert error_of(answer) == (401, "Authentication_MissingOrMalformed")


# removeKey


def test_remove_key_takes_one_key_away(graph: GraphClient, another: Credential, control: Control) -> None:
    """The named one is gone, the other stays; a second time there is nothing to remove."""
    (old,) = key_ids(control)
    key_id = graph.add(another).json()["keyId"]
    answer = graph.remove(key_id)
    assert (answer.status_code, answer.content) == (204, b"")
    assert key_ids(control) == [old]
    again = graph.remove(key_id)
    assert error_of(again) == (400, "Request_BadRequest")
    assert again.json()["error"]["message"] == "No credentials found to be removed."
    assert graph.try_token(another)["error_codes"] == [700027]


@pytest.mark.parametrize("key_id", [None, 1, [], "x5t"])
def test_only_a_key_id_names_a_key(graph: GraphClient, control: Control, key_id: object) -> None:
    """Neither something else nor a thumbprint removes anything."""
    named = graph.credential.x5t if key_id == "x5t" else key_id
    assert error_of(graph.remove(named))[0] == 400
    assert len(key_ids(control)) == 1


# The application object


def test_an_application_may_read_itself_only_where_allowed(graph: GraphClient, control: Control) -> None:
    """By default it is a 403; allowed, keys are listed, with the certificates only where selected."""
    assert error_of(graph.request("GET", "?$select=keyCredentials")) == (403, "Authorization_RequestDenied")
    control("PUT", "/graph", {"graph_may_read": True})
    selected = graph.request("GET", "?$select=keyCredentials").json()
    (key,) = selected["keyCredentials"]
    assert selected.keys() == {"@odata.context", "keyCredentials"}
    assert key["keyId"] == key_ids(control)[0]
    assert x509.load_der_x509_certificate(base64.b64decode(key["key"])) == graph.credential.certificate
    whole = graph.request("GET").json()
    assert whole["id"] == graph.client.application["object_id"]
    assert whole["keyCredentials"] == [key | {"key": None}]


def test_a_patch_replaces_all_keys(graph: GraphClient, another: Credential, control: Control) -> None:
    """What the body does not name is gone: that is why nobody calls it, and it is counted."""
    (old,) = key_ids(control)
    new = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": another.der_base64}
    both = {"keyCredentials": [{"keyId": old}, new]}
    assert graph.request("PATCH", body=both).status_code == 204
    kept, added = key_ids(control)
    assert kept == old
    token = graph.token()
    assert graph.request("PATCH", body={"keyCredentials": [{"keyId": added}]}, token=token).status_code == 204
    assert key_ids(control) == [added]
    for bad in ({}, {"keyCredentials": [1]}, {"keyCredentials": [new | {"key": "AAAA"}]}):
        assert error_of(graph.request("PATCH", body=bad, token=token))[0] == 400
    assert key_ids(control) == [added]
    assert control("GET", "/calls")["graph"] == {"patch": 5}


def test_the_rest_of_graph_is_not_there(graph: GraphClient, control: Control) -> None:
    """Another path or method is a 404 in Graph's error format, and counted as such."""
    url = f"{graph.client.addresses.graph_url}/v1.0/users"
    assert error_of(graph.client.http.get(url, timeout=10)) == (404, "ResourceNotFound")
    assert error_of(graph.request("DELETE")) == (404, "ResourceNotFound")
    assert control("GET", "/calls")["graph"] == {"not_found": 2}


def test_graph_fails_by_itself(graph: GraphClient, another: Credential, control: Control) -> None:
    """A fault of Graph leaves Entra alone, speaks Graph's format, and says when to come back."""
    fault = {"kind": "status", "match": "addKey", "status": 429, "retry_after": 9, "times": 1}
    control("POST", "/faults", {"service": "graph", "faults": [fault]})
    answer = graph.add(another)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "9")
    assert answer.json()["error"]["code"] == "TooManyRequests"
    assert len(key_ids(control)) == 1
    assert graph.add(another).status_code == 200
    assert control("GET", "/calls")["graph"] == {"addKey": 2}


# Replicas


def _statuses(graph: GraphClient, credential: Credential, times: int) -> list[int]:
    return [graph.try_token(credential)["status"] for _ in range(times)]


def test_replicas_learn_of_a_certificate_one_after_the_other(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """Each replica in turn answers by what it knows: the truth of `delay` seconds ago, by Entra's clock."""
    control("POST", "/clock", {"offset_seconds": _MINUTE})
    control("PUT", "/replicas", {"delays": [0, 30, 50]})
    assert graph.add(another).status_code == 200  # its token came from replica 0
    assert _statuses(graph, another, 5) == [401, 401, 200, 401, 401]
    control("POST", "/clock", {"offset_seconds": _MINUTE + 31})
    assert _statuses(graph, another, 3) == [200, 200, 401]
    control("POST", "/clock", {"offset_seconds": _MINUTE + 51})
    assert _statuses(graph, another, 3) == [200, 200, 200]


def test_replicas_forget_a_certificate_one_after_the_other(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """A removed certificate goes on working where its removal is not known yet."""
    control("POST", "/certificates", {"der_base64": another.der_base64})
    control("POST", "/clock", {"offset_seconds": 300})
    key_id = key_ids(control)[1]
    assert graph.remove(key_id).status_code == 204
    control("PUT", "/replicas", {"delays": [0, 200]})
    assert _statuses(graph, another, 2) == [401, 200]
    assert key_id not in key_ids(control)
    control("POST", "/clock", {"offset_seconds": 501})
    assert _statuses(graph, another, 2) == [401, 401]


def test_an_upload_by_hand_needs_its_time_too(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """It makes no difference to a replica who registered a certificate; a reset brings one true replica back."""
    control("PUT", "/replicas", {"delays": [120]})
    control("POST", "/certificates", {"der_base64": another.der_base64})
    assert _statuses(graph, another, 2) == [401, 401]
    control("POST", "/reset")
    assert control("GET", "/replicas") == {"delays": [0]}
    assert _statuses(graph, another, 1) == [200]


def test_graph_itself_knows_the_newest_truth(
    graph: GraphClient, another: Credential, control: Control
) -> None:
    """A proof by a certificate that no replica knows yet is good."""
    token = graph.token()
    control("PUT", "/replicas", {"delays": [_DAY]})
    control("POST", "/certificates", {"der_base64": another.der_base64})
    body = {"keyId": key_ids(control)[0], "proof": replace(graph, credential=another).proof()}
    assert graph.request("POST", "/removeKey", body, token).status_code == 204
