"""The Key Vault stand-in, driven by the real SDKs."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.certificates import CertificateContentType
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.local.clients import Client, Control
from tests.local.key_vault import Vault, begin, create, policy

_DIGEST = hashlib.sha256(b"what is signed").digest()
_DAY = 24 * 60 * 60
_YEAR = 366 * _DAY


def inner_code(error: HttpResponseError) -> str | None:
    """Give the inner code of Key Vault's error."""
    inner = error.error.innererror if error.error else None
    code: str | None = inner.get("code") if inner else None
    return code


def version_of(vault: Vault, name: str = "sos") -> str:
    """Give the version of the newest certificate."""
    properties = vault.certificates.get_certificate(name).properties
    assert properties is not None
    return str(properties.version)


# Authentication


def test_the_sdk_verifies_the_resource_and_is_content(vault: Vault) -> None:
    """With `verify_challenge_resource` at its default the vault's host fits the challenge."""
    vault.secrets.set_secret("s", "v")
    assert vault.secrets.get_secret("s").value == "v"


def test_a_request_without_a_known_token_is_challenged(client: Client) -> None:
    """No token, a wrong one, and one for another resource are a 401 that names authority and resource."""
    url = client.addresses.key_vault_url
    headers = {"X-IDENTITY-HEADER": client.addresses.identity_header}
    query = {"api-version": "2019-08-01", "resource": "https://storage.azure.com"}
    issued = client.http.get(client.addresses.identity_endpoint, params=query, headers=headers, timeout=10)
    for token in ("", "guess", issued.json()["access_token"]):
        answer = client.http.get(f"{url}/secrets/s", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "Unauthorized"
        port = url.rpartition(":")[2]
        assert answer.headers["www-authenticate"] == (
            f'Bearer authorization="{client.base}", resource="https://0.0.1:{port}"'
        )


# Certificates


def test_a_certificate_follows_its_policy(vault: Vault) -> None:
    """Self-signed, RSA-2048, the subject and the months of the policy, ten minutes back-dated."""
    made = create(vault, validity_in_months=6)
    certificate = x509.load_der_x509_certificate(bytes(made.cer or b""))
    public_key = certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert public_key.key_size == 2048
    assert certificate.subject == certificate.issuer == x509.Name.from_rfc4514_string("CN=SOS")
    certificate.verify_directly_issued_by(certificate)
    lifetime = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=180) < lifetime < timedelta(days=185)
    backdated = datetime.now(UTC) - certificate.not_valid_before_utc
    assert timedelta(minutes=10) <= backdated < timedelta(minutes=11)
    assert made.properties is not None
    assert made.properties.x509_thumbprint == certificate.fingerprint(hashes.SHA1())  # noqa: S303 - x5t is SHA-1
    assert made.properties.expires_on == certificate.not_valid_after_utc
    assert made.policy is not None
    assert made.policy.validity_in_months == 6
    assert made.policy.exportable is False


def test_the_times_of_a_certificate_are_those_in_it(vault: Vault) -> None:
    """A request cannot give a certificate another end than its policy does."""
    begin(vault, exp=1_000_000_000)
    vault.certificates.get_certificate_operation("sos")
    made = vault.certificates.get_certificate("sos")
    assert made.properties is not None
    end = x509.load_der_x509_certificate(bytes(made.cer or b"")).not_valid_after_utc
    assert made.properties.expires_on == end


def test_creation_is_in_progress_first(vault: Vault, control: Control) -> None:
    """The answer is inProgress with a signing request; it completes after the polls that were set."""
    control("PUT", "/vault", {"polls": 2})
    assert begin(vault).status_code == 202
    states = [vault.certificates.get_certificate_operation("sos").status for _ in range(3)]
    assert states == ["inProgress", "inProgress", "completed"]
    operation = vault.certificates.get_certificate_operation("sos")
    request = x509.load_der_x509_csr(bytes(operation.csr or b""))
    assert request.is_signature_valid
    assert operation.target == f"{vault.url}/certificates/sos"


def test_creation_completes_with_time_as_well(vault: Vault, control: Control) -> None:
    """A creation that nobody polls is done after the seconds that were set."""
    control("PUT", "/vault", {"polls": 100, "seconds": 60})
    begin(vault)
    with pytest.raises(ResourceNotFoundError):
        vault.certificates.get_certificate("sos")
    control("POST", "/clock", {"offset_seconds": 61})
    assert vault.certificates.get_certificate("sos").name == "sos"


def test_a_second_creation_conflicts(vault: Vault, control: Control) -> None:
    """While one is in progress, another is a 409; cancelled, it can begin anew."""
    control("PUT", "/vault", {"polls": 100})
    begin(vault)
    with pytest.raises(ResourceExistsError) as caught:
        vault.certificates.begin_create_certificate("sos", policy())
    assert caught.value.status_code == 409
    vault.certificates.delete_certificate_operation("sos")
    with pytest.raises(ResourceNotFoundError):
        vault.certificates.get_certificate_operation("sos")
    assert begin(vault).status_code == 202


def test_each_version_has_its_own_key(vault: Vault) -> None:
    """Versions stay readable one by one; keys differ unless the policy reuses them."""
    made = [create(vault), create(vault), create(vault, reuse_key=True)]
    names = [str(certificate.properties.version) for certificate in made if certificate.properties]
    keys = [vault.keys.get_key("sos", name).key for name in names]
    moduli = [getattr(key, "n", None) for key in keys]
    assert moduli[0] != moduli[1]
    assert moduli[1] == moduli[2]
    listed = vault.certificates.list_properties_of_certificate_versions("sos")
    assert {str(properties.version) for properties in listed} == set(names)
    assert version_of(vault) == names[-1]
    assert vault.certificates.get_certificate_version("sos", names[0]).cer == made[0].cer


def test_tags_and_enabled_can_be_changed(vault: Vault) -> None:
    """A disabled certificate can be read, but neither its key nor its secret can be used."""
    create(vault)
    version = version_of(vault)
    vault.certificates.update_certificate_properties("sos", version, enabled=False, tags={"state": "old"})
    properties = vault.certificates.get_certificate("sos").properties
    assert properties is not None
    assert properties.enabled is False
    assert properties.tags == {"state": "old"}
    assert vault.keys.get_key("sos").properties.enabled is False
    with pytest.raises(HttpResponseError) as caught:
        vault.secrets.get_secret("sos")
    assert (caught.value.status_code, inner_code(caught.value)) == (403, "SecretDisabled")


def test_versions_are_listed_with_tags_and_times(vault: Vault) -> None:
    """Each version is listed with its own tags, whether it is enabled, and the times of its certificate."""
    for generation in ("1", "2"):
        vault.certificates.begin_create_certificate(
            "sos", policy(), tags={"generation": generation}, _polling_interval=0
        ).result()
    old = next(
        p
        for p in vault.certificates.list_properties_of_certificate_versions("sos")
        if p.tags == {"generation": "1"}
    )
    vault.certificates.update_certificate_properties("sos", str(old.version), enabled=False)
    listed = list(vault.certificates.list_properties_of_certificate_versions("sos"))
    assert {(str(p.tags), p.enabled) for p in listed} == {
        ("{'generation': '1'}", False),
        ("{'generation': '2'}", True),
    }
    for properties in listed:
        made = vault.certificates.get_certificate_version("sos", str(properties.version))
        certificate = x509.load_der_x509_certificate(bytes(made.cer or b""))
        times = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        assert (properties.not_before, properties.expires_on) == times


def test_a_certificate_begins_by_the_clock_of_the_vault(vault: Vault, control: Control) -> None:
    """Ten minutes before the vault's time, wherever that clock stands."""
    control("POST", "/clock", {"offset_seconds": _YEAR, "service": "vault"})
    made = create(vault)
    certificate = x509.load_der_x509_certificate(bytes(made.cer or b""))
    backdated = datetime.now(UTC) + timedelta(seconds=_YEAR) - certificate.not_valid_before_utc
    assert timedelta(minutes=10) <= backdated < timedelta(minutes=11)


@pytest.mark.parametrize(
    "changes",
    [
        {"exportable": True},
        {"key_size": 1024},
        {"key_type": "EC"},
        {"issuer_name": "Unknown"},
        {"subject": "?"},
    ],
)
def test_a_policy_that_cannot_be_honoured_is_refused(vault: Vault, changes: dict[str, object]) -> None:
    """What this vault does not make is a 400, not something else."""
    with pytest.raises(HttpResponseError) as caught:
        vault.certificates.begin_create_certificate("sos", policy(**changes))
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/certificates/sos/create", {"policy": {"x509_props": {"subject": "CN=SOS", "validity_months": 0}}}),
        (
            "/certificates/sos/create",
            {"policy": {"x509_props": {"subject": "CN=SOS", "validity_months": "1"}}},
        ),
        ("/certificates/sos/create", {"policy": {"secret_props": {"contentType": "text/plain"}}}),
        ("/certificates/sos/create", {"attributes": {"enabled": "yes"}}),
        ("/secrets/s", {"value": 1}),
        ("/secrets/s", {"value": "v", "attributes": {"exp": "soon"}}),
    ],
)
def test_a_malformed_value_is_refused(vault: Vault, path: str, body: dict[str, Any]) -> None:
    """A value of another type or out of its range is a 400, and nothing is made."""
    policy = {"key_props": {"exportable": False}, "x509_props": {"subject": "CN=SOS"}}
    if path.startswith("/certificates"):
        body = body | {"policy": policy | body.get("policy", {})}
    method = "POST" if path.endswith("/create") else "PUT"
    answer = vault.request(method, path, json.dumps(body))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "BadParameter"
    assert vault.request("GET", "/certificates/sos/pending").status_code == 404


@pytest.mark.parametrize("query", ["maxresults=0", "maxresults=26", "maxresults=x", "$skiptoken=x"])
def test_a_malformed_page_request_is_refused(vault: Vault, query: str) -> None:
    """A page holds 1 to 25 items."""
    assert vault.request("GET", f"/secrets?{query}").status_code == 400


def test_import_is_refused(vault: Vault) -> None:
    """A key that was made elsewhere does not get in."""
    with pytest.raises(HttpResponseError) as caught:
        vault.certificates.import_certificate("sos", b"anything")
    assert caught.value.status_code == 403


def test_a_deleted_certificate_is_recoverable(vault: Vault) -> None:
    """Deleted, its name is taken and its key unusable; recovered, it is back with all versions."""
    create(vault)
    kept = create(vault)
    deleted = vault.certificates.begin_delete_certificate("sos").result()
    assert deleted.recovery_id == f"{vault.url}/deletedcertificates/sos"
    with pytest.raises(ResourceNotFoundError):
        vault.certificates.get_certificate("sos")
    for get in (vault.keys.get_key, vault.secrets.get_secret):
        with pytest.raises(ResourceNotFoundError):
            get("sos")
    with pytest.raises(ResourceExistsError) as caught:
        vault.certificates.begin_create_certificate("sos", policy())
    assert inner_code(caught.value) == "ObjectIsDeletedButRecoverable"
    with pytest.raises(ResourceExistsError):
        vault.secrets.set_secret("sos", "squatter")
    vault.certificates.begin_recover_deleted_certificate("sos").wait()
    assert vault.certificates.get_certificate("sos").cer == kept.cer
    assert len(list(vault.certificates.list_properties_of_certificate_versions("sos"))) == 2


def test_a_purged_certificate_is_gone(vault: Vault) -> None:
    """After a purge the name is free."""
    create(vault)
    vault.certificates.begin_delete_certificate("sos").wait()
    vault.certificates.purge_deleted_certificate("sos")
    assert list(vault.certificates.list_deleted_certificates()) == []
    create(vault)
    assert len(list(vault.certificates.list_properties_of_certificate_versions("sos"))) == 1


# Keys


@pytest.mark.parametrize("algorithm", [SignatureAlgorithm.ps256, SignatureAlgorithm.rs256])
def test_signatures_fit_the_certificate(vault: Vault, algorithm: SignatureAlgorithm) -> None:
    """PS256 and RS256 signatures of a digest verify with the certificate's public key."""
    made = create(vault)
    with CryptographyClient(str(made.key_id), vault.credential, **vault.options) as client:
        signature = client.sign(algorithm, _DIGEST).signature
    public_key = x509.load_der_x509_certificate(bytes(made.cer or b"")).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    scheme = pss if algorithm == SignatureAlgorithm.ps256 else padding.PKCS1v15()
    public_key.verify(signature, b"what is signed", scheme, hashes.SHA256())


@pytest.mark.parametrize(("offset", "inner"), [(_YEAR, "KeyExpired"), (-_DAY, "KeyNotYetValid")])
def test_a_key_signs_only_within_its_time(vault: Vault, control: Control, offset: int, inner: str) -> None:
    """By the vault's clock, an expired key and one that is not yet valid are a 403."""
    made = create(vault)
    with CryptographyClient(str(made.key_id), vault.credential, **vault.options) as client:
        client.sign(SignatureAlgorithm.ps256, _DIGEST)
        control("POST", "/clock", {"offset_seconds": offset, "service": "vault"})
        with pytest.raises(HttpResponseError) as caught:
            client.sign(SignatureAlgorithm.ps256, _DIGEST)
    assert (caught.value.status_code, inner_code(caught.value)) == (403, inner)


def test_a_disabled_key_does_not_sign(vault: Vault) -> None:
    """Disabling the certificate version disables its key."""
    made = create(vault)
    with CryptographyClient(str(made.key_id), vault.credential, **vault.options) as client:
        client.sign(SignatureAlgorithm.ps256, _DIGEST)
        vault.certificates.update_certificate_properties("sos", version_of(vault), enabled=False)
        with pytest.raises(HttpResponseError) as caught:
            client.sign(SignatureAlgorithm.ps256, _DIGEST)
    assert (caught.value.status_code, inner_code(caught.value)) == (403, "KeyDisabled")


@pytest.mark.parametrize(
    "body",
    [
        '{"alg": "PS256", "value": "AAAA"}',
        '{"alg": "ES256", "value": "AAAA"}',
        '{"alg": "PS256", "value": "%"}',
        '{"alg": "PS256"}',
        "[]",
        "{",
    ],
)
def test_a_malformed_signing_request_is_refused(vault: Vault, body: str) -> None:
    """Another algorithm, another length, or no JSON at all is a 400."""
    create(vault)
    answer = vault.request("POST", f"/keys/sos/{version_of(vault)}/sign", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "BadParameter"


def test_the_private_key_has_no_way_out(vault: Vault) -> None:
    """Neither the key nor the secret of the certificate's name holds a private part."""
    made = create(vault)
    key = vault.keys.get_key("sos").key
    assert [getattr(key, part, None) for part in ("d", "p", "q", "dp", "dq", "qi")] == [None] * 6
    value = vault.secrets.get_secret("sos").value
    private_key, _, certificates = pkcs12.load_key_and_certificates(base64.b64decode(str(value)), None)
    assert private_key is None
    assert certificates[0] == x509.load_der_x509_certificate(bytes(made.cer or b""))
    create(vault, "pem", content_type=CertificateContentType.pem)
    assert "PRIVATE" not in str(vault.secrets.get_secret("pem").value)
    with pytest.raises(HttpResponseError) as caught:
        vault.secrets.set_secret("sos", "another")
    assert caught.value.status_code == 403


def test_keys_are_listed_as_managed(vault: Vault) -> None:
    """A key of a certificate is listed by name and by version."""
    create(vault)
    assert [(k.name, k.managed) for k in vault.keys.list_properties_of_keys()] == [("sos", True)]
    assert [k.version for k in vault.keys.list_properties_of_key_versions("sos")] == [version_of(vault)]


# Secrets


def test_a_secret_keeps_its_versions(vault: Vault) -> None:
    """The newest is read without a version; older ones by theirs; all carry what was set."""
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    first = vault.secrets.set_secret(
        "s", "one", expires_on=expires, tags={"n": "1"}, content_type="text/plain"
    )
    vault.secrets.set_secret("s", "two")
    assert vault.secrets.get_secret("S").value == "two"
    old = vault.secrets.get_secret("s", first.properties.version)
    assert (old.value, old.properties.expires_on, old.properties.tags) == ("one", expires, {"n": "1"})
    assert old.properties.content_type == "text/plain"
    assert len(list(vault.secrets.list_properties_of_secret_versions("s"))) == 2


def test_lists_come_in_pages(vault: Vault) -> None:
    """More than 25 versions are read through the link to the next page."""
    for n in range(27):
        vault.secrets.set_secret("s", str(n))
    pages = [list(page) for page in vault.secrets.list_properties_of_secret_versions("s").by_page()]
    assert [len(page) for page in pages] == [25, 2]


def test_secrets_are_listed_with_those_of_certificates(vault: Vault) -> None:
    """The list has names without values; the secret of a certificate is marked as managed."""
    vault.secrets.set_secret("s", "v")
    create(vault)
    listed = {str(p.name): bool(p.managed) for p in vault.secrets.list_properties_of_secrets()}
    assert listed == {"s": False, "sos": True}
    assert len(list(vault.secrets.list_properties_of_secret_versions("sos"))) == 1


def test_a_disabled_secret_cannot_be_read(vault: Vault) -> None:
    """It is a 403 until it is enabled again; one outside its time can be read."""
    version = vault.secrets.set_secret("s", "v", enabled=False).properties.version
    with pytest.raises(HttpResponseError) as caught:
        vault.secrets.get_secret("s")
    assert (caught.value.status_code, inner_code(caught.value)) == (403, "SecretDisabled")
    past = datetime.now(UTC) - timedelta(days=1)
    changed = vault.secrets.update_secret_properties(
        "s", version, enabled=True, expires_on=past, tags={"n": "2"}
    )
    assert changed.tags == {"n": "2"}
    assert vault.secrets.get_secret("s").value == "v"


def test_a_secret_holds_25_kilobytes(vault: Vault) -> None:
    """The limit itself fits, one byte more is a 400."""
    vault.secrets.set_secret("s", "x" * 25 * 1024)
    with pytest.raises(HttpResponseError) as caught:
        vault.secrets.set_secret("s", "x" * (25 * 1024 + 1))
    assert caught.value.status_code == 400


def test_a_deleted_secret_is_recoverable_until_purged(vault: Vault) -> None:
    """Deleted, it cannot be read or set; recovered, it is back; purged, it is gone."""
    vault.secrets.set_secret("s", "v")
    vault.secrets.begin_delete_secret("s").wait()
    assert [d.name for d in vault.secrets.list_deleted_secrets()] == ["s"]
    with pytest.raises(ResourceNotFoundError):
        vault.secrets.get_secret("s")
    with pytest.raises(ResourceExistsError) as caught:
        vault.secrets.set_secret("s", "w")
    assert inner_code(caught.value) == "ObjectIsDeletedButRecoverable"
    vault.secrets.begin_recover_deleted_secret("s").wait()
    assert vault.secrets.get_secret("s").value == "v"
    vault.secrets.begin_delete_secret("s").wait()
    vault.secrets.purge_deleted_secret("s")
    with pytest.raises(ResourceNotFoundError):
        vault.secrets.get_deleted_secret("s")


def test_what_is_absent_is_a_404_of_its_kind(vault: Vault) -> None:
    """Certificates, keys, secrets and versions that do not exist are named so."""
    vault.secrets.set_secret("s", "v")
    for call, code in (
        (lambda: vault.certificates.get_certificate("none"), "CertificateNotFound"),
        (lambda: vault.keys.get_key("none"), "KeyNotFound"),
        (lambda: vault.secrets.get_secret("none"), "SecretNotFound"),
        (lambda: vault.secrets.get_secret("s", "0" * 32), "SecretNotFound"),
    ):
        with pytest.raises(ResourceNotFoundError) as caught:
            call()
        assert caught.value.error is not None
        assert caught.value.error.code == code


def test_a_bad_name_is_a_400(vault: Vault) -> None:
    """Only letters, digits and hyphens make a name."""
    with pytest.raises(HttpResponseError) as caught:
        vault.secrets.set_secret("no_underscores", "v")
    assert caught.value.status_code == 400
