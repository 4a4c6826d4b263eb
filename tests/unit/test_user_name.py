import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BadRequest
from shared.user_name import MAX_CHARACTERS, normalise_user_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("owner", "owner"),
        ("  Owner\u00a0", "owner"),
        ("OWNER@Clinic.Example", "owner@clinic.example"),
        ("\uff4f\uff57\uff4e\uff45\uff52", "owner"),
        ("Stra\u00dfe", "strasse"),
        ("Ren\u00e9e", "rene\u0301e".replace("e\u0301", "\u00e9")),
        ("rene\u0301e", "ren\u00e9e"),
        ("\u05d0\u05d7\u05d5\u05ea", "\u05d0\u05d7\u05d5\u05ea"),
        ("on call", "on call"),
        ("x" * MAX_CHARACTERS, "x" * MAX_CHARACTERS),
    ],
)
def test_spellings_of_one_name_are_one(text: str, name: str) -> None:
    """Case, width, accents and spaces at the ends do not make another account."""
    assert normalise_user_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "own\0er",
        "own\ner",
        "own\u200ber",
        "own\u202eer",
        "own\ue000er",
        "own\ud800er",
        "own\u0378er",
        "x" * (MAX_CHARACTERS + 1),
        " " * MAX_CHARACTERS + "owner",
        "\ufdfa" * MAX_CHARACTERS,
    ],
)
def test_name_that_no_account_can_have_is_refused(text: str) -> None:
    """Empty, invisible, unassigned or too long, before or after folding."""
    with pytest.raises(BadRequest, match="user_name"):
        normalise_user_name(text)


@settings(deadline=None)
@given(st.text(max_size=MAX_CHARACTERS))
def test_normalising_again_changes_nothing(text: str) -> None:
    """The one spelling is its own spelling."""
    try:
        name = normalise_user_name(text)
    except BadRequest:
        return
    assert normalise_user_name(name) == name
    assert 0 < len(name) <= MAX_CHARACTERS
