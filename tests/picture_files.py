"""Picture files that Pillow does not write, byte by byte."""

import base64
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


D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def fixed(*numbers: float) -> bytes:
    """s15Fixed16Number of ICC.1."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def profile(space: bytes, tags: dict[bytes, bytes], name: str, kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 4. tags: besides its name, licence and white."""
    texts = {
        tag: b"mluc\0\0\0\0" + struct.pack(">II", 1, 12) + b"enUS" + struct.pack(">II", 2 * len(text), 28) + text.encode("utf-16-be")
        for tag, text in ((b"desc", name), (b"cprt", "CC0"))
    }
    table, body = b"", b""
    tags = {**texts, b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I", 128 + len(rest)) + b"test" + bytes([4, 0x30, 0, 0]) + kind + space + connection
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + rest


def curve(gamma: float | None) -> bytes:
    """None: sRGB's."""
    if gamma:
        return b"para\0\0\0\0" + struct.pack(">HH", 0, 0) + fixed(gamma)
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(name: str, primaries, gamma: float | None = None) -> bytes:
    """primaries: XYZ of red, green and blue, adapted to D50."""
    tags = {tag: b"XYZ \0\0\0\0" + fixed(*xyz) for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries)}
    return profile(b"RGB ", tags | {tag: curve(gamma) for tag in (b"rTRC", b"gTRC", b"bTRC")}, name)


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve(gamma)}, f"Grey {gamma}")


def table_profile(space: bytes, lightness) -> bytes:
    """A profile of tables alone. lightness(corner): L* of each corner of the inks or lights, a tuple of 0 and 1."""
    channels = {b"CMYK": 4, b"RGB ": 3}[space]
    corners = [tuple(i >> (channels - 1 - c) & 1 for c in range(channels)) for i in range(2**channels)]
    straight = bytes(range(256))
    table = b"".join(bytes((round(lightness(corner) * 2.55), 128, 128)) for corner in corners)
    lut = b"mft1\0\0\0\0" + bytes((channels, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + straight * channels + table + straight * 3
    return profile(space, {b"A2B0": lut, b"A2B1": lut}, "Tables", b"prtr" if space == b"CMYK" else b"mntr", b"Lab ")


def png_with(file: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk, before its pixels."""
    at = file.index(b"IDAT") - 4
    return file[:at] + struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)) + file[at:]


def jpeg_of_scans(scans: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    file = saved(Image.new("RGB", size, (90, 120, 30)), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    start = file.rindex(b"\xff\xc4", 0, last)  # its table goes with it
    return file[:-2] + file[start:-2] * scans + file[-2:]


# 32x16, red and blue side by side, with the boxes that turn it by a quarter: red above blue. Written by Pillow 12.
TURNED_AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAAD1bWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAA"
    "AQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAEdAAAAUAAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAAB0aXBycAAAAFRpcGNvAAAA"
    "FGlzcGUAAAAAAAAAIAAAABAAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAAAlpcm90AwAAABhpcG1hAAAAAAAAAAEA"
    "AQUBAoMEhQAAAFhtZGF0EgAKCRgQ/+0QENBoQDJBEgf39qkAggg+QACArr32hz1julYrUFvbrcuxh44u+r44Iz7xvU2WLOxA+2cC2CKvJril3PtvQbi2JrTL"
    "weyk+ww="
)
