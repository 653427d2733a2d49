"""Text as an alarm receiving centre can show it: within a field, and in ASCII where its receiver knows nothing else.

Of the receivers that were tried, one computes the CRC over ASCII only and then drops what it takes for damaged: a single `ș`
would lose the alarm. So ASCII is the default, accents fall away, and Cyrillic is written in Latin letters.
"""

import re
import unicodedata
from typing import Final, Literal

_LATIN: Final = {  # Ukrainian after the resolution of 2010, Russian beside it; one reading is enough for an operator
    "а": "a", "б": "b", "в": "v", "г": "h", "ґ": "g", "д": "d", "е": "e", "є": "ie", "ж": "zh", "з": "z", "и": "y", "і": "i",
    "ї": "i", "й": "i", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u",
    "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ь": "", "ю": "iu", "я": "ia", "ё": "e", "ы": "y",
    "э": "e", "ъ": "", "–": "-", "—": "-", "„": '"', "“": '"', "”": '"', "«": '"', "»": '"', "’": "'", "‘": "'", "°": " deg",
    "³": "3", "²": "2", "µ": "u", "′": "'", "″": '"',
}  # fmt: skip
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_FIELD: Final = str.maketrans("[]|", "()/")  # what ends a field or a block

Charset = Literal["ascii", "utf-8"]


def ascii_of(text: str) -> str:
    """The text in ASCII letters; what has none becomes `?`."""
    text = unicodedata.normalize("NFC", text)
    latin = "".join(_letter(text, place) for place in range(len(text)))
    apart = unicodedata.normalize("NFKD", latin)
    bare = "".join(each for each in apart if not unicodedata.combining(each))
    return bare.encode("ascii", "replace").decode("ascii")


def _letter(text: str, place: int) -> str:
    letter = text[place]
    latin = _LATIN.get(letter.lower())
    if latin is None:
        return letter
    if letter == letter.lower():
        return latin
    shouted = text[place + 1 : place + 2].isupper() or (place > 0 and text[place - 1].isupper())
    return latin.upper() if shouted else latin.capitalize()


def field(text: str, most: int, charset: Charset) -> bytes:
    """The text for one field: at most `most` bytes, no bracket, bar or control character, cut between characters."""
    text = _CONTROL.sub(" ", text).translate(_FIELD)
    if charset == "ascii":
        text = ascii_of(text).translate(_FIELD)
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data
    return data[: max(most - 3, 0)].decode("utf-8", "ignore").rstrip().encode() + b"..."
