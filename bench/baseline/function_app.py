"""What the product is measured against, served by the same host.

`trivial` answers at once. `sdks` first imports what a first `/login` cannot do without. `round_trips` then also calls what a
first `/login` calls, through the same SDKs and one after the other, with no rule and no check around it.
"""

import os
from importlib import import_module

import azure.functions as func

_SDKS = (
    "azure.core.pipeline.transport",
    "azure.data.tables",
    "azure.identity",
    "azure.keyvault.secrets",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.ciphers.aead",
    "msal",
    "requests",
)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="trivial", methods=["GET"])
def trivial(req: func.HttpRequest) -> func.HttpResponse:
    """Answer at once."""
    del req
    return func.HttpResponse("ok")


@app.route(route="sdks", methods=["GET"])
def sdks(req: func.HttpRequest) -> func.HttpResponse:
    """Answer once the SDKs are loaded."""
    del req
    _import_sdks()
    return func.HttpResponse("ok")


@app.route(route="round_trips", methods=["GET"])
def round_trips(req: func.HttpRequest) -> func.HttpResponse:
    """Answer once the settings, the key ring and the provider's metadata have been read."""
    _import_sdks()
    _read_settings()
    _read_key_ring()
    _read_metadata(req.params["tenant"])
    return func.HttpResponse("ok")


def _import_sdks() -> None:
    for name in _SDKS:
        import_module(name)


def _read_settings() -> None:
    from azure.data.tables import TableServiceClient

    service = TableServiceClient.from_connection_string(os.environ["TABLES_CONNECTION_STRING"])
    service.get_table_client("sossettings").get_entity("settings", "sso")


def _read_key_ring() -> None:
    from azure.identity import ManagedIdentityCredential
    from azure.keyvault.secrets import SecretClient

    credential = ManagedIdentityCredential()
    ca_file = os.environ["TRUSTED_CA_FILE"]
    with SecretClient(os.environ["KEY_VAULT_URL"], credential, connection_verify=ca_file) as client:
        client.get_secret("sos-session-keys")


def _read_metadata(tenant: str) -> None:
    import requests

    url = f"{os.environ['ENTRA_AUTHORITY_HOST']}/{tenant}/v2.0/.well-known/openid-configuration"
    requests.get(url, verify=os.environ["TRUSTED_CA_FILE"], timeout=10).raise_for_status()
