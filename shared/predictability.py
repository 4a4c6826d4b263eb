"""How long a password is once its predictable parts count for little.

A minimum of 15 characters makes lists of short common passwords useless as they are: people reach 15 by
doubling them, decorating them, or joining two. So the whole password is read as the cheapest chain of pieces:
a common word, a row of keys, a date, a repeat of what came before, or a character of its own. Its cost is its
effective length.

The password is judged whole (NIST SP 800-63B-4, section 3.1.1.2: not "substrings"): a common word inside a
password is no fault, a password that consists of little else is. Four unrelated words that are not a saying
pass.
"""

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from itertools import chain
from pathlib import Path

OWN_CHARACTER = 1
REPEAT = 1
KNOWN_PIECE = 2
"""Costs in characters. With 2, four listed words reach the 8 that a password must have."""

LONGEST_PIECE = 60
SHORTEST_PIECE = 3
"""Characters. Two of a kind happen in any word; three are a pattern."""

SEPARATORS = " -_.,:;/'"

ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "012345678901234567890",
    "qwertyuiop[]",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "!@#$%^&*()_+",
    '!"£$%^&*()_+',
    "qwertzuiopü",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "שדגכעיחלךף",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "qawsedrftgyhujikolp",
    "a1b2c3d4e5f6g7h8i9j0",
    "zaq12wsxcde34rfvbgt56yhnmju78ik,",
    "1qazxsw23edcvfr45tgbnhy67ujm,ki8",
    "1qa2ws3ed4rf5tg6yh7uj8ik9ol0p;",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1234qwerasdfzxcv",
    "qwertasdfgzxcvb",
    "00112233445566778899",
    "000111222333444555666777888999",
)
"""Alphabets, digits, and rows and columns of keyboards, as people walk them."""

DATE = re.compile(
    r"(?:19|20)\d\d(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))?"
    r"|(?:0[1-9]|[12]\d|3[01]){2}(?:19|20)\d\d"
)
"""A year, or a date of eight digits in any usual order."""

SUBSTITUTIONS = str.maketrans("@483!0$57+", "aabeiosstt")
"""Characters that people write for letters. The digit 1 is read as i and as l."""


class Habit(StrEnum):
    """What makes a piece predictable."""

    COMMON = "common"
    CONTEXT = "context"
    SEQUENCE = "sequence"
    DATE = "date"
    REPETITION = "repetition"


def effective_length(password: str, context: Iterable[str] = ()) -> tuple[int, frozenset[Habit]]:
    """Answer the password's length in effective characters, and the habits that shorten it.

    `context` holds names that an attacker would try first: the account's, the product's, the place's.
    """
    text = unicodedata.normalize("NFKC", password).casefold()
    names = frozenset(chain.from_iterable(map(_names, context)))
    used = {character for character in text if character in SEPARATORS}
    joined = "".join(character for character in text if character not in SEPARATORS)
    cost, habits = _cheapest_chain(text, names)
    joined_cost, joined_habits = _cheapest_chain(joined, names)
    return min((cost, habits), (joined_cost + len(used), joined_habits), key=lambda chain: chain[0])


def _cheapest_chain(text: str, names: frozenset[str]) -> tuple[int, frozenset[Habit]]:
    """Dynamic programming over the end of the last piece: `best[n]` reads the first n characters."""
    plain = text.translate(SUBSTITUTIONS)
    readings = (text, plain.replace("1", "i"), plain.replace("1", "l"))
    best: list[tuple[int, frozenset[Habit]]] = [(0, frozenset())]
    for end in range(1, len(text) + 1):
        cost, habits = best[end - 1]
        choice = (cost + OWN_CHARACTER, habits)
        for start in range(max(0, end - LONGEST_PIECE), end - SHORTEST_PIECE + 1):
            cost, habits = best[start]
            if cost + REPEAT >= choice[0]:
                continue
            if text.find(text[start:end], 0, end - 1) != -1:
                choice = (cost + REPEAT, habits | {Habit.REPETITION})
            elif cost + KNOWN_PIECE < choice[0] and (
                habit := _habit({reading[start:end] for reading in readings}, names)
            ):
                choice = (cost + KNOWN_PIECE, habits | {habit})
        best.append(choice)
    return best[-1]


def _habit(spellings: set[str], names: frozenset[str]) -> Habit | None:
    """Recognise one piece in any of its spellings, forwards or backwards."""
    both_ways = spellings | {spelling[::-1] for spelling in spellings}
    if both_ways & names:
        return Habit.CONTEXT
    if both_ways & _common():
        return Habit.COMMON
    if any(piece in row for piece in both_ways for row in ROWS):
        return Habit.SEQUENCE
    if any(DATE.fullmatch(piece) for piece in spellings):
        return Habit.DATE
    return None


def _names(name: str) -> set[str]:
    """Split a name into the words an attacker would try: each by itself, and all as one."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold())
    return {word for word in (*words, "".join(words)) if len(word) >= SHORTEST_PIECE}


@cache
def _common() -> frozenset[str]:
    """Read the list when a password is first chosen, not when the program starts."""
    lines = Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line.replace(" ", "") for line in lines if not line.startswith("#"))
