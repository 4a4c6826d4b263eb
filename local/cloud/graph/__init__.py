"""Microsoft Graph, as far as an application looks after its own certificates."""
