import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.decoding import clean, decode, looks_binary

GERMAN = "Das Café in Zürich öffnet um 8 Uhr – außer sonntags. Preis: 5 €."
RUSSIAN = "Возврат денег возможен в течение тридцати дней после покупки. Обратитесь в поддержку."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        ("Müller\n", "cp1252"),
        ("naïve résumé déjà vu", "cp1252"),
        (RUSSIAN, "cp1251"),
        ("Привет, мир", "cp1251"),
        ("Текст на русском языке. And some English too.", "cp1251"),
        (RUSSIAN, "koi8_r"),
        ("返金は30日以内に可能です。サポートにご連絡ください。", "shift_jis"),
        ("退款可以在三十天内办理，请联系客服。", "gb18030"),
        ("退款可以在三十天內辦理，請聯絡客服。", "big5"),
        ("환불은 30일 이내에 가능합니다.", "euc_kr"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy.", "cp1250"),
        ("Η επιστροφή χρημάτων είναι δυνατή εντός τριάντα ημερών.", "cp1253"),
        ("hello world in sixteen bits", "utf-16-le"),
        ("hello world in sixteen bits", "utf-16-be"),
        (GERMAN, "utf-16"),
        (RUSSIAN, "utf-16"),
        (GERMAN, "utf-32"),
        (RUSSIAN, "utf-8-sig"),
        (RUSSIAN, "utf-8"),
    ],
)
def test_text_is_read_in_the_encoding_it_was_written_in(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == clean(text)


def test_what_tells_the_encoding_may_stand_late_in_a_very_long_line() -> None:
    text = '{"plain": "words", ' * 20_000 + '"note": "退款可以在三十天內辦理，請聯絡客服。"}'
    assert decode(text.encode("big5")) == text


@given(st.text())
def test_utf8_is_always_read_as_utf8(text: str) -> None:
    data = text.encode("utf-8", "ignore")
    if b"\0" not in data and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        assert decode(data) == clean(data.decode())


@given(st.binary())
def test_any_bytes_become_text_that_postgres_can_hold(data: bytes) -> None:
    text = decode(data)
    assert "\0" not in text
    assert "\r" not in text
    text.encode("utf-8")  # no lone surrogates


def test_utf8_cut_off_inside_a_character_is_still_utf8() -> None:
    assert decode("Größe – größer".encode()[:-1] + "é".encode()[:1]).startswith("Größe – größe")


def test_pictures_are_not_text() -> None:
    assert looks_binary(bytes(range(256)) * 10)
    assert not looks_binary(RUSSIAN.encode("cp1251"))
    assert not looks_binary(GERMAN.encode("utf-16"))
