import re

from hypothesis import given
from hypothesis import strategies as st

from shared.principal import Principal

guids = st.uuids().map(str)


def test_the_account_id_of_an_identity_never_changes() -> None:
    """Rows of people are named by it: another derivation would give everyone a new account.

    The expected text: `printf tid/oid | openssl dgst -sha256 -binary | head -c 16 | base64`, as base64url.
    """
    nurse = Principal("7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10", "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a01")
    assert nurse.account_id == "qb4ExlKqhfF8XIINWaHdXw"


@given(guids, guids)
def test_the_account_id_can_stand_in_a_key_and_a_cookie(tenant_id: str, object_id: str) -> None:
    """It has 22 characters of base64url: 128 bits."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", Principal(tenant_id, object_id).account_id)


@given(guids, guids, guids, guids)
def test_two_identities_have_two_accounts(tenant: str, other_tenant: str, person: str, other: str) -> None:
    """Tenant and object count both, and each in its place."""
    identities = {(t, p) for t in (tenant, other_tenant) for p in (person, other)}
    identities |= {(p, t) for t, p in identities}
    assert len({Principal(*identity).account_id for identity in identities}) == len(identities)
