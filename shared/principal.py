"""Who a Microsoft person is: the tenant and the object, and nothing else."""

import hashlib
from dataclasses import dataclass

from shared.base64url import base64url


@dataclass(frozen=True, slots=True)
class Principal:
    """A Microsoft identity: `tid` and `oid` of the token. E-mail and names change; these never do."""

    tenant_id: str
    object_id: str

    @property
    def account_id(self) -> str:
        """The id of the account that this identity gets at its first sign-in (22 characters, base64url).

        It is derived, so that a sign-in finds the account with one read, without an index that could disagree.
        """
        digest = hashlib.sha256(f"{self.tenant_id}/{self.object_id}".encode()).digest()
        return base64url(digest[:16])
