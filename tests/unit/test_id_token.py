import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidIdToken, UpstreamUnavailable
from shared.id_token import Expectation, Kind, VerifiedClaims, validate_id_token
from shared.principal import Principal
from shared.signing_keys import KeySet, SigningKey
from tests.vectors import make_id_tokens as make

DOCUMENT: dict[str, Any] = json.loads(make.FILE.read_text(encoding="utf-8"))
VECTORS: list[dict[str, str]] = DOCUMENT["vectors"]
KEY_SETS = {name: KeySet.parse(jwks) for name, jwks in DOCUMENT["key_sets"].items()}
EXPECTED = Expectation(**DOCUMENT["expected"])
NOW = datetime.fromisoformat(DOCUMENT["now"])

KEYS = make.Keys()
PUBLISHED = KeySet.parse(KEYS.sets()["published"])
SIGN = KEYS.rsa("first")
GOOD = make.token(make.header(), make.claims(), SIGN)

VECTOR = pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in VECTORS])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def validate(token: str, keys: KeySet = PUBLISHED, now: datetime = NOW) -> VerifiedClaims:
    """Validate a token as a sign-in would."""
    return validate_id_token(token, keys=keys, expected=EXPECTED, now=now)


def signed(changes: Mapping[str, object]) -> str:
    """Sign the good claims with changes."""
    return make.token(make.header(), make.claims(changes), SIGN)


def outcome(token: str, keys: KeySet = PUBLISHED) -> str:
    """Answer the class of a token's outcome, in the words of the vectors."""
    try:
        validate(token, keys)
    except InvalidIdToken as error:
        return error.kind
    return make.VALID


@VECTOR
def test_vector(vector: dict[str, str]) -> None:
    """Each vector has the outcome that it names."""
    assert outcome(vector["token"], KEY_SETS[vector["keys"]]) == vector["outcome"]


def test_the_vectors_are_the_ones_that_their_maker_makes() -> None:
    """The file is up to date, apart from the keys."""
    made = make.document()
    assert {k: v for k, v in made.items() if k not in {"key_sets", "vectors"}} == {
        k: v for k, v in DOCUMENT.items() if k not in {"key_sets", "vectors"}
    }
    described = [{k: v for k, v in vars(vector).items() if k != "token"} for vector in make.vectors(KEYS)]
    assert described == [{k: v for k, v in vector.items() if k != "token"} for vector in VECTORS]


def test_every_kind_of_refusal_has_a_vector() -> None:
    """The table of kinds holds nothing that cannot happen, and the vectors nothing that is not in the table."""
    assert {vector["outcome"] for vector in VECTORS} == {*Kind, make.VALID}


def test_what_a_valid_token_says() -> None:
    """All that is read of a token, with the types that the rest of the product uses."""
    claims = validate(
        signed(
            {
                "roles": ["sos.admin"],
                "sid": "00a1",
                "login_hint": "O.hint",
                "auth_time": make.SECONDS - 7200,
            }
        )
    )
    assert claims.principal == Principal(make.TENANT, make.PERSON)
    assert claims.subject == make.CLAIMS["sub"]
    assert claims.name == "Ward Nurse"
    assert claims.roles == ("sos.admin",)
    assert (claims.provider_session, claims.login_hint) == ("00a1", "O.hint")
    assert claims.auth_time == NOW - timedelta(hours=2)
    assert claims.issued_at == NOW - timedelta(minutes=5)
    assert claims.issued_at.tzinfo is UTC


def test_what_a_token_need_not_say() -> None:
    """Absent claims have a plain empty value."""
    claims = validate(make.token(make.header(), make.claims(without="name"), SIGN))
    assert (claims.name, claims.roles, claims.provider_session, claims.login_hint) == ("", (), "", "")
    assert claims.auth_time is None


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Dr. Ærøskøbing-O'Neill", "Dr. Ærøskøbing-O'Neill"),
        ("Ward\x00\x1b[31m\x7f Nurse", "Ward[31m Nurse"),
        ("Ward\r\nSet-Cookie:\tx", "Ward Set-Cookie: x"),
        ("Ward\u202e\u2066esruN\ufeff", "WardesruN"),  # turned text, and a byte order mark
        ("山田\u3000太郎", "山田 太郎"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that the spelling needs
        ("  Ward   Nurse  ", "Ward Nurse"),
        ("\x00 \u202e", ""),
        ("n" * 200, "n" * 128),
        ("n" * 127 + " n", "n" * 127),
    ],
)
def test_a_name_is_cleaned_for_display(written: str, shown: str) -> None:
    """Nothing invisible, nothing that turns text around, one kind of space, a bounded length."""
    assert validate(signed({"name": written})).name == shown


def test_only_validation_makes_verified_claims() -> None:
    """Nobody can make checked claims by hand, nor change them after the check."""
    claims = validate(GOOD)
    values = {name: getattr(claims, name) for name in VerifiedClaims.__slots__}
    with pytest.raises(TypeError):
        VerifiedClaims(**values)
    for stamp in (None, object(), True):
        with pytest.raises(TypeError, match="only validate_id_token"):
            VerifiedClaims(**values, made_by=stamp)
    with pytest.raises((TypeError, ValueError)):
        replace(claims, subject="somebody else")  # type: ignore[call-arg]  # the stamp is what is missing
    with pytest.raises(AttributeError):
        claims.subject = "somebody else"  # type: ignore[misc]  # that it is frozen is the point


@pytest.mark.parametrize("member", ["issuer", "client_id", "tenant_id", "nonce"])
def test_an_empty_expectation_is_a_mistake(member: str) -> None:
    """An expectation that an empty claim would meet cannot be made."""
    with pytest.raises(ValueError, match=member):
        Expectation(**{**DOCUMENT["expected"], member: ""})


def test_what_is_shown_of_claims_and_expectations_tells_no_secret() -> None:
    """The reprs hold neither the nonce nor what describes the person."""
    shown = repr(validate(signed({"login_hint": "O.hint"}))) + repr(EXPECTED)
    assert not [text for text in ("O.hint", EXPECTED.nonce, "Ward Nurse") if text in shown]


def test_a_refusal_tells_nothing_of_the_token() -> None:
    """Neither the error nor what led to it holds the token, a claim, or the text that a parser stumbled over."""
    for vector in VECTORS:
        if vector["outcome"] == make.VALID or len(vector["token"]) < 20:
            continue
        with pytest.raises(InvalidIdToken) as caught:
            validate(vector["token"], KEY_SETS[vector["keys"]])
        for error in chain(caught.value):
            held = repr((error.args, vars(error), str(error)))
            assert held.replace("Kind", "").count(vector["outcome"]) >= 1
            assert len(held) < 200, vector["name"]
            assert not hasattr(error, "doc")
            assert not hasattr(error, "object")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk from an error to what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Asked:
    """Keys that note what they are asked for."""

    def __init__(self) -> None:
        self.for_ids: list[str | None] = []

    def candidates(self, key_id: str | None) -> tuple[SigningKey, ...]:
        """Note the id, and answer as the published keys do."""
        self.for_ids.append(key_id)
        return PUBLISHED.candidates(key_id)


def test_keys_are_asked_for_only_when_a_token_could_be_valid() -> None:
    """A token that is malformed, of another type or algorithm, cannot cause a request to the provider."""
    asked = Asked()
    for header in ({"alg": "HS256"}, {"alg": "none"}, {"typ": "at+jwt"}, {"crit": ["x"]}):
        with pytest.raises(InvalidIdToken):
            validate_id_token(
                make.token(make.header(**header), make.claims(), SIGN), keys=asked, expected=EXPECTED, now=NOW
            )
    assert asked.for_ids == []
    validate_id_token(GOOD, keys=asked, expected=EXPECTED, now=NOW)
    assert asked.for_ids == ["first"]


def test_keys_that_cannot_be_had_are_not_a_fault_of_the_token() -> None:
    """Wrong is not broken: what the keys raise comes through."""
    failure = UpstreamUnavailable("microsoft")

    class Away:
        def candidates(self, key_id: str | None) -> tuple[SigningKey, ...]:
            assert key_id == "first"
            raise failure

    with pytest.raises(UpstreamUnavailable):
        validate_id_token(GOOD, keys=Away(), expected=EXPECTED, now=NOW)


def test_time_passes() -> None:
    """The same token is good now, and refused before its time and after its age."""
    validate(GOOD, now=NOW + timedelta(minutes=10))
    for later, kind in ((timedelta(minutes=-7), "not_yet_valid"), (timedelta(minutes=11), "too_old")):
        with pytest.raises(InvalidIdToken, match=kind):
            validate(GOOD, now=NOW + later)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_change_to_a_token_makes_it_invalid(data: st.DataObject) -> None:
    """No other text stands for a good token: a character changed, added, taken away or moved is refused."""
    at = data.draw(st.integers(0, len(GOOD) - 1))
    letters = st.characters(codec="utf-8") | st.sampled_from("ABab01-_=.+/ \n")
    letter = data.draw(letters)
    changed = data.draw(
        st.sampled_from(
            [
                GOOD[:at] + letter + GOOD[at + 1 :],
                GOOD[:at] + letter + GOOD[at:],
                GOOD[:at] + GOOD[at + 1 :],
                GOOD[at:] + GOOD[:at],
                GOOD[:at],
                GOOD + letter,
            ]
        )
    )
    assert (outcome(changed) == make.VALID) == (changed == GOOD)


@settings(deadline=None, max_examples=300)
@given(token=st.text(max_size=60) | st.lists(st.text("eyJ0-_=", max_size=9), max_size=5).map(".".join))
def test_any_text_is_refused_with_a_kind(token: str) -> None:
    """What is no token at all gets a refusal, never another error."""
    assert outcome(token) in set(Kind)


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(sorted([*make.CLAIMS, "azp", "roles", "sid", "login_hint", "auth_time"])),
    value=JSON_VALUES,
)
def test_any_value_of_any_claim_is_accepted_or_refused_with_a_kind(name: str, value: object) -> None:
    """Even a well-signed token cannot cause another error, whatever types it brings."""
    assert outcome(signed({name: value})) in {*Kind, make.VALID}


@settings(deadline=None, max_examples=200)
@given(claims=JSON_VALUES, header=JSON_VALUES)
def test_any_json_is_refused_with_a_kind(claims: object, header: object) -> None:
    """Any JSON in the place of header or claims is refused, well signed or not."""
    header_text, claims_text = json.dumps(header).encode(), json.dumps(claims).encode()
    assert outcome(make.token(make.header(), claims_text, SIGN)) in set(Kind)
    assert outcome(make.token(header_text, make.claims(), SIGN)) in set(Kind)
