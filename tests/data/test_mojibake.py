import pytest

from tfft.data.mojibake import is_misread


@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", ["café", "l’été", "“so”", "größer", "naïve", "5 €", "łódź", "😀", "¿qué?"])
def test_text_read_in_the_wrong_code_page_is_found(text, codec):
    misread = text.encode().decode(codec, "replace" if codec == "cp1252" else "strict")
    assert is_misread(f"Here: {misread}.")


@pytest.mark.parametrize(
    "text",
    [
        "café “so” – größer…",
        "IRMÃ”",
        "« À LA MÂCHE »",
        "ÅNGSTRÖM",
        "Ärger",
        "SÃO",
        "CHÂTEAU",
        "naïve",
        "日本語",
        "😀",
        "x",
    ],
)
def test_text_that_is_right_is_not_found(text):
    assert not is_misread(text)


def test_the_replacement_character_is_found():
    assert is_misread("K\ufffdln")
