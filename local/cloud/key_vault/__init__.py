"""The stand-in for Azure Key Vault: certificates, their keys, and secrets, over the REST API of the SDKs."""
