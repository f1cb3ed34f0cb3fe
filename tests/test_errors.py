import sys
import unicodedata

import pytest

from catsdogs.errors import CatsDogsError, printable, redact, redact_uri


@pytest.mark.parametrize(
    "name",
    [
        "می\u200cروم",  # Persian: a zero-width non-joiner within a word
        "क\u200dष",  # Hindi: a joiner
        "山田\u3000太郎",  # Japanese: an ideographic space
        "Nº\u00a07",
        "10\u202f000 \u2009 \u205f",
        "👩\u200d👩\u200d👧 ❤\ufe0f",
        "cafe\u0301 🐶 [red] <b> \\x1b",
    ],
)
def test_names_in_any_script_are_shown_as_they_are(name):
    assert printable(name) == name
    assert str(CatsDogsError(name, "None")) == f"{name}. None."


@pytest.mark.parametrize(
    ("characters", "shown"),
    [
        # Embeddings, overrides and isolates, which reverse what is beside them (CVE-2021-42574), and directional marks.
        ("\u202a\u202e\u2066\u2069", r"\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9"),
        ("\u200e\u200f\u061c", r"\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c"),
        # What is never seen: zero-width space, soft hyphen, word joiner, byte order mark, tags.
        ("\u200b\xad\u2060\ufeff", r"\xe2\x80\x8b\xc2\xad\xe2\x81\xa0\xef\xbb\xbf"),
        ("🏴\U000e0067\U000e007f", r"🏴\xf3\xa0\x81\xa7\xf3\xa0\x81\xbf"),
        # Line ends, controls, and what is not a character, or not yet.
        ("\n\r\t\x0b\x85\u2028\u2029", r"\x0a\x0d\x09\x0b\xc2\x85\xe2\x80\xa8\xe2\x80\xa9"),
        ("\x00\x1b\x7f\x9b", r"\x00\x1b\x7f\xc2\x9b"),
        ("\ue000\uffff\u0378", r"\xee\x80\x80\xef\xbf\xbf\xcd\xb8"),
        ("\udcff\udc00\ud800", r"\xff\xed\xb0\x80\xed\xa0\x80"),
    ],
)
def test_characters_that_hide_or_reverse_text_are_shown_as_bytes(characters, shown):
    assert printable(characters) == shown
    assert printable(shown) == shown


def test_spaces_and_two_joiners_are_the_only_invisible_ones_shown():
    code_points = *range(0x33480), *range(0xE0000, 0xE0200), *range(0xFFFF0, sys.maxunicode + 1, 1000)
    shown = set(printable("".join(map(chr, code_points))))  # between them nothing is assigned
    assert len(shown) > 100_000
    categories = {character: unicodedata.category(character) for character in shown}
    assert {character for character, of in categories.items() if of[0] in "CZ" and of != "Zs"} == {"\u200c", "\u200d"}
    assert "".join(shown).splitlines() == ["".join(shown)]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:SECRET@h:80/a@b.zip", "http://***@h:80/a@b.zip"),
        ("http://me:p@SECRET@h/x.zip", "http://***@h/x.zip"),
        ("http://me:SECRET/x@h/x.zip", "http://***@h/x.zip"),
        ("http://me:SECRET#x@h/x.zip", "http://***@h/x.zip"),
        ("zip://x/y::http://me:SECRET@h/x.zip?sig=SECRET", "zip://x/y::http://***@h/x.zip?***"),
        ("http://h/x.zip?name='x.zip'&sig=SECRET", "http://h/x.zip?***"),
        ("http://h/x.zip?download=SECRET", "http://h/x.zip?***"),
        ("http://h/x.zip?download=1", "http://h/x.zip?download=1"),
        ("http://127.0.0.1:9000/a@b/x.zip", "http://127.0.0.1:9000/a@b/x.zip"),
    ],
)
def test_secrets_of_uris_are_not_shown(uri, shown):
    assert redact_uri(uri) == shown
    assert redact(f"{uri} cannot be read (url='{uri}')") == f"{shown} cannot be read (url='{shown}')"


def test_a_query_with_spaces_is_not_shown_but_the_file_in_the_archive_is():
    assert redact("http://h/x.zip?***/cat.1.jpg") == "http://h/x.zip?***/cat.1.jpg"
    assert redact_uri('http://h/x.zip?name="x y.zip"&sig=SECRET') == "http://h/x.zip?***"
