"""Picture files that Pillow does not write, byte by byte."""

import io
import struct
import zlib

from PIL import Image

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # colour types of PNG
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGBA: 4}


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(width: int, height: int, data: bytes, colour: int = RGB, bits: int = 8) -> bytes:
    """data: what the IDAT chunk holds, a zlib stream of rows that each begin with their filter byte."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_16_bit(rows, colour: int = RGB) -> bytes:
    """rows: of pixels, each a tuple of levels in [0, 65535]."""
    raw = b"".join(b"\0" + b"".join(struct.pack(f">{len(pixel)}H", *pixel) for pixel in row) for row in rows)
    return png(len(rows[0]), len(rows), zlib.compress(raw), colour, bits=16)


def black_png(side: int) -> bytes:
    """A valid, very small file of a black `side`² picture in RGB, built without holding the picture."""
    rows_at_once = 100
    assert side % rows_at_once == 0
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(rows_at_once * (1 + 3 * side))) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    # Adler-32 of n zero bytes.
    checksum = (side * (1 + 3 * side) % 65521) << 16 | 1
    return png(side, side, b"\x78\xda" + block * (side // rows_at_once) + end + struct.pack(">I", checksum))


def icon(png_file: bytes) -> bytes:
    """An ICO that says 16x16 and holds this PNG."""
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png_file), 22) + png_file
