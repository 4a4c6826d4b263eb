from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from unicodedata import normalize

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import password as door
from shared.errors import TooManyAttempts, WeakPassword
from shared.password import (
    CHEAPEST,
    MAX_CHARACTERS,
    PARAMETERS,
    PREDICTABLE,
    TOO_LONG,
    TOO_SHORT,
    UNKNOWN_CHARACTER,
    Parameters,
    check_new_password,
    hash_password,
    verify_password,
)
from shared.predictability import ROWS, Habit, effective_length
from shared.secret import Secret

PEPPER = Secret("pepper of the test")
RIGHT = Secret("violin asphalt gnome pelican")
HASH = hash_password(RIGHT, PEPPER, CHEAPEST)
CONTEXT = ("owner@clinic.example", "SOS Sign-in")


class Evaluator:
    """Stands where Argon2id does, and notes what each evaluation was about."""

    def __init__(self, real: type[Argon2id]) -> None:
        self.real = real
        self.passwords: list[bytes] = []
        self.strings: list[str] = []

    def verify_phc_encoded(self, key_material: bytes, phc: str, secret: bytes) -> None:
        """Note both, then verify for real."""
        self.passwords.append(key_material)
        self.strings.append(phc)
        self.real.verify_phc_encoded(key_material, phc, secret)


@pytest.fixture
def evaluator(monkeypatch: pytest.MonkeyPatch) -> Evaluator:
    """Count the evaluations of a verification."""
    evaluator = Evaluator(Argon2id)
    monkeypatch.setattr(door, "Argon2id", evaluator)
    return evaluator


def test_right_password_matches() -> None:
    """The password that was hashed is right, and needs no new hash while the parameters stay."""
    answer = verify_password(RIGHT, HASH, PEPPER, CHEAPEST)
    assert answer.matches
    assert not answer.rehash_needed


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "violin asphalt gnome pelica",
        "violin asphalt gnome pelican ",
        "Violin asphalt gnome pelican",
        "violin asphalt gnome pelican\0",
    ],
)
def test_any_other_password_does_not_match(wrong: str) -> None:
    """Nothing is trimmed, cut or folded before a password is compared."""
    assert not verify_password(Secret(wrong), HASH, PEPPER, CHEAPEST).matches


def test_pepper_is_part_of_the_hash() -> None:
    """A stolen store is worth nothing without the pepper."""
    assert not verify_password(RIGHT, HASH, Secret("another"), CHEAPEST).matches


def test_stored_string_is_phc_with_the_standard_parameters() -> None:
    """RFC 9106, section 4, second recommended option, with a salt of 128 and a tag of 256 bits."""
    phc = hash_password(RIGHT, PEPPER)
    _, name, version, cost, salt, tag = phc.split("$")
    assert (name, version, cost) == ("argon2id", "v=19", "m=65536,t=3,p=4")
    assert (len(salt), len(tag)) == (22, 43)
    assert verify_password(RIGHT, phc, PEPPER) == door.Verification(matches=True, rehash_needed=False)


def test_same_password_has_another_hash_each_time() -> None:
    """Every hash has its own salt."""
    assert hash_password(RIGHT, PEPPER, CHEAPEST) != HASH


@pytest.mark.parametrize(
    "other",
    [
        Parameters(iterations=2, lanes=1, memory_kib=8),
        Parameters(iterations=1, lanes=2, memory_kib=16),
        Parameters(iterations=1, lanes=1, memory_kib=9),
    ],
)
def test_rehash_is_asked_for_when_parameters_change(other: Parameters) -> None:
    """A right password whose hash has other parameters is to be hashed anew."""
    answer = verify_password(RIGHT, HASH, PEPPER, other)
    assert answer.matches
    assert answer.rehash_needed


def test_wrong_password_is_never_rehashed() -> None:
    """A wrong password must not replace the stored hash."""
    other = Parameters(iterations=2, lanes=1, memory_kib=8)
    assert not verify_password(Secret("wrong"), HASH, PEPPER, other).rehash_needed


SALT, TAG = HASH.split("$")[-2:]
UNUSABLE = {
    "empty": "",
    "not a PHC string": "sha256:abcdef",
    "another algorithm": HASH.replace("argon2id", "argon2i"),
    "another version": HASH.replace("v=19", "v=16"),
    "tag cut short": HASH[:-1],
    "salt cut short": HASH.replace(SALT, SALT[:-2]),
    "something after the tag": HASH + "$",
    "line end after the tag": HASH + "\n",
    "bits beyond the tag": HASH[:-1] + "B",
    "bits beyond the salt": f"$argon2id$v=19$m=8,t=1,p=1${SALT[:-1]}B${TAG}",
    "no memory": HASH.replace("m=8", "m=0"),
    "less memory than the lanes need": HASH.replace("m=8", "m=7"),
    "too little memory for two lanes": HASH.replace("p=1", "p=2"),
    "no lanes": HASH.replace("p=1", "p=0"),
    "no passes": HASH.replace("t=1", "t=0"),
    "memory bomb": HASH.replace("m=8", "m=131073"),
    "memory bomb of 4 TiB": HASH.replace("m=8", "m=4294967295"),
    "time bomb": HASH.replace("t=1", "t=11"),
    "thread bomb": HASH.replace("p=1", "p=9").replace("m=8", "m=72"),
    "digits of another script": HASH.replace("m=8", "m=٨"),
    "leading zero": HASH.replace("m=8", "m=08"),
}


@pytest.mark.parametrize("phc", [*UNUSABLE.values(), None], ids=[*UNUSABLE, "no account"])
def test_unusable_string_is_a_no_after_one_evaluation_of_the_current_cost(
    phc: str | None, evaluator: Evaluator
) -> None:
    """No account, a broken row and a bomb cost what a wrong password costs, and never match."""
    for text in ("", RIGHT.reveal()):
        answer = verify_password(Secret(text), phc, PEPPER, CHEAPEST)
        assert answer == door.Verification(matches=False, rehash_needed=False)
    assert len(set(evaluator.strings)) == 2
    assert phc not in evaluator.strings
    for string in evaluator.strings:
        argon2id = Argon2id(salt=bytes(16), length=32, iterations=1, lanes=1, memory_cost=8)
        cost = argon2id.derive_phc_encoded(b"").split("$")[:4]
        assert string.split("$")[:4] == cost
        assert [len(part) for part in string.split("$")[4:]] == [22, 43]


@pytest.mark.parametrize("text", [RIGHT.reveal(), "wrong", "x" * (MAX_CHARACTERS + 1)])
def test_every_answer_takes_one_evaluation(text: str, evaluator: Evaluator) -> None:
    """Right, wrong and too long cost the same, and too long is not even looked at."""
    verify_password(Secret(text), HASH, PEPPER, CHEAPEST)
    assert len(evaluator.passwords) == 1
    assert len(evaluator.passwords[0]) <= MAX_CHARACTERS


def test_no_account_takes_as_long_as_an_account() -> None:
    """At the real parameters the time does not tell whether there is an account (within a factor of two)."""
    phc = hash_password(RIGHT, PEPPER)

    def fastest(stored: str | None) -> float:
        times = []
        for _ in range(3):
            start = perf_counter()
            verify_password(Secret("wrong"), stored, PEPPER)
            times.append(perf_counter() - start)
        return min(times)

    assert 0.5 < fastest(phc) / fastest(None) < 2


def test_too_long_password_is_not_hashed() -> None:
    """A hash that could never be matched is not made."""
    with pytest.raises(WeakPassword) as caught:
        hash_password(Secret("x" * (MAX_CHARACTERS + 1)), PEPPER, CHEAPEST)
    assert caught.value.problems == (TOO_LONG,)


def test_too_long_password_does_not_match_its_own_beginning() -> None:
    """Nothing is truncated, not even at the bound."""
    longest = "x" * MAX_CHARACTERS
    phc = hash_password(Secret(longest), PEPPER, CHEAPEST)
    assert verify_password(Secret(longest), phc, PEPPER, CHEAPEST).matches
    assert not verify_password(Secret(longest + "x"), phc, PEPPER, CHEAPEST).matches


@settings(max_examples=50, deadline=None)
@example("\ud800", "\udfff")
@example("one\0two", "one")
@given(st.text(max_size=MAX_CHARACTERS), st.text(max_size=MAX_CHARACTERS))
def test_any_text_is_a_password(one: str, other: str) -> None:
    """Spaces, NUL, emoji and even lone surrogates are verified; only the same text matches."""
    phc = hash_password(Secret(one), PEPPER, CHEAPEST)
    assert verify_password(Secret(one), phc, PEPPER, CHEAPEST).matches
    same = normalize("NFC", one) == normalize("NFC", other)
    assert verify_password(Secret(other), phc, PEPPER, CHEAPEST).matches == same


def test_keyboards_that_compose_differently_agree() -> None:
    """NFC: one character or a letter with its accent, it is the same password (NIST SP 800-63B-4, 3.1.1.2)."""
    phc = hash_password(Secret("caf\u00e9 au lait"), PEPPER, CHEAPEST)
    assert verify_password(Secret("cafe\u0301 au lait"), phc, PEPPER, CHEAPEST).matches


def test_characters_that_differ_stay_different() -> None:
    """Not NFKC: a superscript two is not a two."""
    phc = hash_password(Secret("x\u00b2"), PEPPER, CHEAPEST)
    assert not verify_password(Secret("x2"), phc, PEPPER, CHEAPEST).matches


def test_verifications_at_once_all_end() -> None:
    """Two evaluations with lanes at the same time would wait for each other for ever inside OpenSSL."""
    phc = hash_password(RIGHT, PEPPER)
    answers: list[bool] = []
    threads = [
        Thread(target=lambda: answers.append(verify_password(RIGHT, phc, PEPPER).matches), daemon=True)
        for _ in range(door.EVALUATION_PLACES)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert answers == [True] * door.EVALUATION_PLACES


class Gate:
    """Stands where Argon2id does and holds each evaluation until it is let go."""

    def __init__(self) -> None:
        self.entered = Event()
        self.let_go = Event()
        self.inside = 0
        self.most_inside = 0

    def verify_phc_encoded(self, _password: bytes, _phc: str, _secret: bytes) -> None:
        """Wait inside, and note how many are."""
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        assert self.let_go.wait(timeout=30)
        self.inside -= 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Hold evaluations in flight."""
    gate = Gate()
    monkeypatch.setattr(door, "Argon2id", gate)
    return gate


def test_crowd_is_turned_away_at_once(gate: Gate) -> None:
    """One evaluates, one waits, and the next is told to come back instead of taking one more thread."""
    outcomes: list[str] = []

    def verify() -> None:
        try:
            with door.evaluation_place(known_browser=False):
                verify_password(RIGHT, HASH, PEPPER, CHEAPEST)
            outcomes.append("verified")
        except TooManyAttempts:
            outcomes.append("turned away")
            if outcomes.count("turned away") == 5:
                gate.let_go.set()

    threads = [Thread(target=verify, daemon=True) for _ in range(door.EVALUATION_PLACES + 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert outcomes.count("verified") == door.EVALUATION_PLACES
    assert gate.most_inside == 1


def test_strangers_do_not_take_the_places_of_known_browsers() -> None:
    """However many strangers guess at once, a browser that has signed in before finds a place (mission, point 5)."""
    with ExitStack() as crowd:
        for _ in range(door.EVALUATION_PLACES):
            crowd.enter_context(door.evaluation_place(known_browser=False))
        with pytest.raises(TooManyAttempts), door.evaluation_place(known_browser=False):
            pass
        with door.evaluation_place(known_browser=True):
            assert verify_password(RIGHT, HASH, PEPPER, CHEAPEST).matches


def test_place_is_left_when_the_attempt_fails() -> None:
    """An attempt that ends in an error leaves its place to the next."""
    for _ in range(door.EVALUATION_PLACES + 1):
        with pytest.raises(ValueError, match="failed"), door.evaluation_place(known_browser=False):
            raise ValueError("failed")


def test_turn_that_does_not_come_is_given_up(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long for the turn is told to come back."""
    monkeypatch.setattr(door, "LONGEST_WAIT", timedelta(0))
    holder = Thread(target=verify_password, args=(RIGHT, HASH, PEPPER, CHEAPEST), daemon=True)
    holder.start()
    assert gate.entered.wait(timeout=30)
    for _ in range(door.EVALUATION_PLACES + 1):
        with pytest.raises(TooManyAttempts):
            verify_password(RIGHT, HASH, PEPPER, CHEAPEST)
    gate.let_go.set()
    holder.join(timeout=30)
    assert verify_password(RIGHT, HASH, PEPPER, CHEAPEST).matches


def test_failed_evaluation_passes_the_turn_on() -> None:
    """Wrong passwords do not keep the turn."""
    for _ in range(2 * door.EVALUATION_PLACES):
        assert not verify_password(Secret("wrong"), HASH, PEPPER, CHEAPEST).matches


@pytest.mark.parametrize(
    "password",
    [
        "violin asphalt gnome pelican",
        "It was raining in Lisbon that day",
        "kq7mxv2pl9wzrt4",
        "483920175638201",
        "зима была холодной в деревне",
        "hospital coffee window summer",
        "my password has a pelican in it",
        "K!k9#mZ2@pL5&qX8",
        "".join(chr(0x1F40C + number * number) for number in range(15)),
    ],
)
def test_good_password_is_accepted(password: str) -> None:
    """Length is enough: no kind of character is asked for, and a common word inside is no fault."""
    assert check_new_password(Secret(password), context=CONTEXT) == ()


@pytest.mark.parametrize(
    "password", ["violin asphalt gnome pelican horse quartz banjo tundra mosaic yes", "a-Z 0" * 7]
)
def test_long_passwords_are_accepted_or_judged_by_content_only(password: str) -> None:
    """At least 64 characters are accepted (NIST SP 800-63B-4, 3.1.1.2)."""
    assert TOO_LONG not in check_new_password(Secret(password))


@pytest.mark.parametrize(
    ("password", "habit"),
    [
        ("passwordpassword", Habit.COMMON),
        ("password1234567", Habit.COMMON),
        ("password1234567", Habit.SEQUENCE),
        ("Password!2024!!", Habit.DATE),
        ("P@ssw0rd-P@ssw0rd", Habit.COMMON),
        ("pa55word pa55word", Habit.REPETITION),
        ("drowssapdrowssap", Habit.COMMON),
        ("correct horse battery staple", Habit.COMMON),
        ("Correct-Horse_Battery.Staple", Habit.COMMON),
        ("to be or not to be", Habit.COMMON),
        ("thisismypassword", Habit.COMMON),
        ("welcome to hospital", Habit.COMMON),
        ("dragon monkey sunshine", Habit.COMMON),
        ("summer2024summer", Habit.REPETITION),
        ("welcome 31122024 welcome", Habit.DATE),
        ("welcome 20241231 welcome", Habit.DATE),
        ("qwertyuiopasdfghjkl", Habit.SEQUENCE),
        ("1qaz2wsx3edc4rfv", Habit.SEQUENCE),
        ("123456789012345", Habit.SEQUENCE),
        ("987654321987654321", Habit.SEQUENCE),
        ("abcdefghijklmnop", Habit.SEQUENCE),
        ("йцукенгшщзфывапро", Habit.SEQUENCE),
        ("aaaaaaaaaaaaaaaa", Habit.REPETITION),
        ("zqzqzqzqzqzqzqzq", Habit.REPETITION),
        ("owner.clinic.2025", Habit.CONTEXT),
        ("renwoexamplerenwo", Habit.CONTEXT),
        ("SOS-Sign-In-2026!", Habit.CONTEXT),
        ("сол\u043dышкосолнышко", Habit.COMMON),
    ],
)
def test_predictable_password_is_refused_with_its_reason(password: str, habit: Habit) -> None:
    """Doubled, decorated, spelt with digits, reversed, walked on the keyboard: the reason is shown."""
    problems = check_new_password(Secret(password), context=CONTEXT)
    assert PREDICTABLE[habit] in problems
    assert TOO_SHORT not in problems


def test_context_matters_only_where_it_is_given() -> None:
    """A name is predictable for its owner, not for others."""
    assert check_new_password(Secret("zworykinzworykin"), context=("zworykin",)) != ()
    assert check_new_password(Secret("zworykin-zworykin"), context=()) == ()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", (TOO_SHORT,)),
        ("xkvqzjwpfhgybd", (TOO_SHORT,)),
        ("xkvqzjwpfhgybdm", ()),
        ("e\u0301" + "xkvqzjwpfhgyb", (TOO_SHORT,)),
        ("\U0001f98a" + "xkvqzjwpfhgyb", (TOO_SHORT,)),
        ("\U0001f98a" + "xkvqzjwpfhgybd", ()),
        ("xkvqzjwpfhgybd\0", ()),
        ("xkvqzjwpfhgybd\ud800", (UNKNOWN_CHARACTER,)),
        ("xkvqzjwpfhgybd\u0378", (UNKNOWN_CHARACTER,)),
        ("xkvqzjwp" * 32, ()),
        ("xkvqzjwp" * 32 + "x", (TOO_LONG,)),
    ],
)
def test_length_counts_code_points_after_normalisation(text: str, problems: tuple[str, ...]) -> None:
    """15 to 256 code points, each counted once however many octets it takes."""
    assert check_new_password(Secret(text)) == problems


def test_short_and_common_shows_both_reasons() -> None:
    """A person reads every reason at once."""
    assert check_new_password(Secret("password")) == (TOO_SHORT, PREDICTABLE[Habit.COMMON])


def test_no_sentence_shows_the_password() -> None:
    """What is shown on a page says what is wrong and never what was typed."""
    shown = " ".join(check_new_password(Secret("sunshine2024sunshine")))
    assert "sunshine" not in shown
    assert "2024" not in shown


def test_list_is_what_its_header_says() -> None:
    """Entries are lower case, sorted, unique, of four letters or more, and none is a row of keys."""
    lines = Path(door.__file__).with_name("common_passwords.txt").read_text("utf-8").splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    assert entries == sorted(set(entries))
    assert all(entry == entry.casefold().strip() for entry in entries)
    assert min(len(entry) for entry in entries) == 4
    assert len(entries) > 3000
    assert not [entry for entry in entries if any(entry in row for row in ROWS)]


@settings(deadline=None)
@given(st.text(max_size=64))
def test_effective_length_is_bounded_by_the_length(text: str) -> None:
    """No text is worth more than its characters, and any text can be judged."""
    length, _ = effective_length(text)
    assert 0 <= length <= len(normalize("NFKC", text).casefold())


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=15, max_size=15))
def test_repeating_a_text_adds_next_to_nothing(text: str) -> None:
    """Doubling a password makes it one piece longer, not twice as strong."""
    assert effective_length(text + text)[0] <= effective_length(text)[0] + 1


def test_parameters_are_not_weakened() -> None:
    """The production parameters meet RFC 9106 and stay within what a stored string may ask for."""
    assert Parameters(iterations=3, lanes=4, memory_kib=65536) == PARAMETERS
    assert PARAMETERS.memory_kib <= door.MAX_PARAMETERS.memory_kib
