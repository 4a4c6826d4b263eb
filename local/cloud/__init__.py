"""The cloud on a laptop: stand-ins for Microsoft Entra ID, Graph, Key Vault and the App Service managed identity.

One process, on loopback only. `python -m local.cloud --state DIR --port N` serves

    N      https  Entra, as MSAL calls it (metadata, keys, token); Graph under /graph
    N + 1  http   Entra, as a browser sees it (authorize, sign-out); managed identity; control
    N + 2  https  Key Vault

and prints its addresses as one line of JSON when it is ready. `server.serving` does the same in a thread, and
`server.steerable` hands over what there is to steer.
"""
