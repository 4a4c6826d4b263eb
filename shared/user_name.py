"""User names: one spelling for each, so that look-up, throttle and device cookie mean the same account."""

import unicodedata

from shared.errors import BadRequest

MAX_CHARACTERS = 128


def normalise_user_name(text: str) -> str:
    """Answer the one spelling of a user name; spelling it again changes nothing.

    Raises BadRequest for a name that no account can have: empty, over 128 characters, or with a character
    that cannot be seen (control, format, surrogate, private, unassigned).
    """
    # The length is looked at twice: here it bounds the work, and folding may lengthen a name.
    name = _fold(text) if len(text) <= MAX_CHARACTERS else ""
    invisible = any(unicodedata.category(character).startswith("C") for character in name)
    if invisible or not 0 < len(name) <= MAX_CHARACTERS:
        kind = "user_name"
        raise BadRequest(kind)
    return name


def _fold(text: str) -> str:
    """Fold for compatibility caseless matching (The Unicode Standard, section 3.13, D146) and trim."""
    name = unicodedata.normalize("NFD", text)
    for _ in range(2):  # D146 folds twice: the compatibility form of a folded letter may fold further.
        name = unicodedata.normalize("NFKD", name.casefold())
    return unicodedata.normalize("NFKC", name).strip()
