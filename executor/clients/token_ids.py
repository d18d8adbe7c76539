"""Token ids of the prompts that measuring clients send: what every vocabulary of 10,000 and more contains."""

from __future__ import annotations

# All have four digits, so a prompt is a slice of bytes: each id with its comma takes five.
FIRST_ID, IDS, ID_BYTES = 1000, 9000, 5
