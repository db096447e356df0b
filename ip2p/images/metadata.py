"""What a photograph's EXIF says of it (when, where, by which camera), for the result; and the infotext and settings in a result's."""

from __future__ import annotations

from PIL import Image

KEPT = "ip2p_exif"  # in a picture's `info`: its EXIF for the writer
EXIF, GPS = 0x8769, 0x8825
ORIENTATION = 0x0112
# Of the picture itself: description, maker, camera, program, date, artist, copyright. The rest says how its file stores it.
OF_PICTURE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
USER_COMMENT, UNIQUE_ID, COLOUR_SPACE = 0x9286, 0xA420, 0xA001
# Of its EXIF: the maker's notes, whose offsets break when they are moved; our own fields; its size, and where more of it lies.
LEFT_OUT = (0x927C, USER_COMMENT, UNIQUE_ID, 0xA002, 0xA003, 0xA005)
SRGB = 1
OF_BYTES = (0, 5)  # in GPS: the version, and whether the altitude is below the sea
UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"


def exif_to_keep(image: Image.Image) -> bytes | None:
    """Of a picture that `read_image` read: its date, place and camera as EXIF, without orientation, thumbnail and the maker's
    notes; None where it has none. `write.save_picture` takes it."""
    return image.info.get(KEPT)


def selected(exif: Image.Exif) -> bytes | None:
    """What `exif_to_keep` gives of a file's EXIF. What is damaged is left out."""
    kept = Image.Exif()
    for tag in OF_PICTURE:
        if tag in exif:
            kept[tag] = exif[tag]
    for directory in (EXIF, GPS):
        if values := {tag: value for tag, value in exif.get_ifd(directory).items() if tag not in LEFT_OUT}:
            if directory == EXIF and COLOUR_SPACE in values:
                values[COLOUR_SPACE] = SRGB
            kept[directory] = {tag: undefined(value) if tag not in OF_BYTES else value for tag, value in values.items()}
    return kept.tobytes() if len(kept) else None


def with_texts(exif: bytes | None, infotext: str, settings: str) -> bytes:
    """EXIF that names sRGB, with the infotext as its user comment, as the WebUI writes and reads it, and the settings as the picture's
    unique id."""
    block = Image.Exif()
    if exif:
        block.load(exif)
    values = {tag: undefined(value) for tag, value in block.get_ifd(EXIF).items()}
    values[COLOUR_SPACE] = SRGB
    if infotext:
        values[USER_COMMENT] = undefined(UNICODE + infotext.encode("utf-16-be"))
    if settings:
        values[UNIQUE_ID] = settings
    block[EXIF] = values
    if place := block.get_ifd(GPS):
        block[GPS] = {tag: undefined(value) if tag not in OF_BYTES else value for tag, value in place.items()}
    return block.tobytes()


def undefined(value: object) -> object:
    """EXIF's type UNDEFINED for bytes: Pillow writes bytes as the type BYTE, which piexif, and so the WebUI, can't read as a text, but
    leaves the type of what it does not know, such as bytearrays, undefined."""
    return [bytearray(value)] if isinstance(value, bytes) else value


def texts_in(image: Image.Image) -> tuple[str | None, str | None]:
    """(infotext, settings) in the EXIF of a file."""
    values = image.getexif().get_ifd(EXIF)
    comment, settings = values.get(USER_COMMENT), values.get(UNIQUE_ID)
    return comment_text(comment), settings if isinstance(settings, str) else None


def comment_text(comment: object) -> str | None:
    if not isinstance(comment, bytes):
        return None
    if comment.startswith(UNICODE):
        return comment[8:].decode("utf-16-be", "replace")
    return comment.removeprefix(ASCII).decode("utf8", "replace") or None
