"""The adapters: the ports of `shared.ports`, answered by Azure and Microsoft. Nothing else imports an SDK."""
