"""The finishing task: joins the tiles that the tasks kept to mandelbrot.png.

Its data/ holds results.jsonl, a line for each task, and the files that they kept.
"""

import json
import struct
import zlib
from pathlib import Path

GRID, SIDE = 8, 96
SIZE = GRID * SIDE


def tile(result):
    """The rows of a tile's pixels; None where its task kept none."""
    kept = result["files"].get("tile.ppm", {})
    if "path" not in kept:
        return None
    _head, _, pixels = Path("data", kept["path"]).read_bytes().partition(b"255\n")
    return [pixels[row * SIDE * 3 : (row + 1) * SIDE * 3] for row in range(SIDE)]


def png(rows):
    """The picture as PNG: each row is led by a 0, for no filter."""
    head = struct.pack(">2I5B", SIZE, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind, data):
    """A piece of a PNG: its length, what it is, and a checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


canvas = [bytearray(b"\x80" * (SIZE * 3)) for _ in range(SIZE)]  # grey, where a tile is missing
there = 0
slowest = 0.0
with Path("data", "results.jsonl").open() as lines:
    for result in map(json.loads, lines):
        rows = tile(result)
        slowest = max(slowest, result["wall_time"] or 0.0)
        if rows is None:
            print(f"no tile {result['parameters']}: {result['status']}")
            continue
        there += 1
        left = result["parameters"]["tx"] * SIDE * 3
        top = result["parameters"]["ty"] * SIDE
        for number, row in enumerate(rows):
            canvas[top + number][left : left + len(row)] = row
Path("mandelbrot.png").write_bytes(png(canvas))
print(f"{there} of {GRID * GRID} tiles joined to {SIZE} by {SIZE} pixels")
print(f"the slowest tile took {slowest * 1000:.0f} ms")
