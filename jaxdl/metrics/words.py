"""Words of a text in any script, for metrics."""

import re
import unicodedata

# Scripts without spaces between words: Thai and Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def words(text: str) -> list[str]:
    """Splits a text into lowercase words of letters and digits, in NFC.

    Equal to rouge-score's tokenizer without stemming for ASCII. Characters of scripts without spaces are words of their
    own, with the marks after them.

    Example: `words("Die Straße 东京") == ["die", "straße", "东", "京"]`.
    """
    if text.isascii():
        return re.findall(r"[a-z0-9]+", text.lower())
    found: list[str] = []
    open_word = open_character = False  # whether letters, or marks only, continue the last word
    for character in unicodedata.normalize("NFC", text.lower()):
        if unicodedata.category(character).startswith("M") and (open_word or open_character):
            found[-1] += character
        elif not character.isalnum():
            open_word = open_character = False
        elif any(first <= ord(character) <= last for first, last in _UNSPACED):
            found.append(character)
            open_word, open_character = False, True
        elif open_word:
            found[-1] += character
        else:
            found.append(character)
            open_word, open_character = True, False
    return found
