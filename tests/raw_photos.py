"""A camera's raw file made by hand, after the DNG specification (Adobe, 1.4): one number a pixel
behind a mosaic of red, green, green and blue filters, in a camera whose colours are those of sRGB.
"""

from __future__ import annotations

import struct

import numpy as np

XYZ_TO_SRGB = [
    *(3.2404542, -1.5371385, -0.4985314),
    *(-0.9692660, 1.8760108, 0.0415560),
    *(0.0556434, -0.2040259, 1.0572252),
]
"""IEC 61966-2-1, D65."""
BYTE, ASCII, SHORT, LONG, RATIONAL, SIGNED = 1, 2, 3, 4, 5, 10
FORMS = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SIGNED: "i"}


def write_dng(path, linear, orientation=1):
    """Write (y, x, 3) floats from 0 to 1, light as it falls in, as a raw file."""
    mosaic = np.array(linear[..., 1])
    mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    stored = np.rint(mosaic * 65535).astype("<u2").tobytes()
    height, width = mosaic.shape
    matrix = [n for value in XYZ_TO_SRGB for n in (round(value * 1e7), 10_000_000)]
    tags = [
        (254, LONG, [0]),
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [16]),
        (259, SHORT, [1]),
        (262, SHORT, [32803]),
        (271, ASCII, b"Selion\0"),
        (272, ASCII, b"Hand\0"),
        (273, LONG, [0]),  # of the pixels; filled in below
        (274, SHORT, [orientation]),
        (277, SHORT, [1]),
        (278, LONG, [height]),
        (279, LONG, [len(stored)]),
        (306, ASCII, b"2026:06:01 09:30:00\0"),
        (33421, SHORT, [2, 2]),
        (33422, BYTE, [0, 1, 1, 2]),
        (50706, BYTE, [1, 4, 0, 0]),
        (50708, ASCII, b"Selion Hand\0"),
        (50714, SHORT, [0]),
        (50717, LONG, [65535]),
        (50721, SIGNED, matrix),
        (50728, RATIONAL, [1, 1] * 3),
        (50778, SHORT, [21]),
    ]
    after = 8 + 2 + 12 * len(tags) + 4
    far = b""
    entries = []
    for tag, kind, values in tags:
        held = struct.pack(f"<{len(values)}{FORMS[kind]}", *values)
        count = len(values) // 2 if kind in (RATIONAL, SIGNED) else len(values)
        if len(held) > 4:
            place, far = after + len(far), far + held + b"\0" * (len(held) % 2)
            held = struct.pack("<I", place)
        entries.append((tag, kind, count, held.ljust(4, b"\0")))
    begin = struct.pack("<I", after + len(far))
    entries = [(t, k, c, begin if t == 273 else held) for t, k, c, held in entries]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    table = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    path.write_bytes(head + table + b"\0" * 4 + far + stored)
    return path
