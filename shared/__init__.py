"""The rules of SOS Sign-in. Clock, store, vault and identity provider are handed in; see `ports`."""
