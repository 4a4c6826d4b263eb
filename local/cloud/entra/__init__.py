"""The stand-in for Microsoft Entra ID: one tenant, one application, a few people."""
