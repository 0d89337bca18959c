"""Label values that have broken, or might break, a reader of the page. Data only."""

from __future__ import annotations

REPLACEMENT = "\ufffd"

HOSTILE_VALUES: tuple[str, ...] = (
    '"',
    "\\",
    "\\\\",
    "\n",
    "\\n",
    'a"b\\c\nd\\n"',
    'ends in a backslash\\"\\',
    "\r",
    "\r\n",
    "a\x00b",
    "\x00",
    "\\\x00",
    '"\x00"',
    "".join(map(chr, range(1, 32))),
    "\x7f\x80\x85\x9f",
    "\u2028\u2029",
    "\ufeff",
    "\ufffe\uffff\U0010ffff",
    "e\u0301 é 漢字 😀 \u202egnp.exe",
    " leading and trailing ",
    "\t",
    "}",
    '} 1 # {x="y"} 1',
    '",name="other',
    "# EOF",
    "\n# EOF\n",
    "# TYPE gotk_suspend_status counter",
    "NaN",
    "${HOME} {{ $labels.name }} %s",
)
"""Come back exactly as they are."""

HOSTILE_JSON: tuple[tuple[str, str], ...] = (
    (r'"\ud800"', REPLACEMENT),
    (r'"a\udfffb"', f"a{REPLACEMENT}b"),
    (r'"\udc00\ud800"', REPLACEMENT * 2),
    (r'"\ud83d\ude00"', "😀"),
    (r'"\u0000"', "\x00"),
)
"""As an API server's JSON may have them, and what comes back."""
