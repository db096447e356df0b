"""Pictures: reading them as they are meant, fitting them to the network's sizes, masks, heat maps, and writing results."""

from .colour import notes_of
from .heat import heat_picture
from .kinds import is_picture, natural_order, pictures_in
from .limits import HERE, HTTP, MAX_PIXELS, Limits
from .masks import keep_outside, mask_of, read_mask
from .metadata import exif_to_keep
from .read import from_base64, read_as_it_is, read_base64, read_image, size_of_whole, upright_rgb
from .sizes import MAX_SIDE, MIN_SIDE, STEP, Box, Frame, bytes_of, fit, fit_size, frame_of
from .write import infotext_in, picture_bytes, png_level, save_picture, settings_in

__all__ = [
    "HERE", "HTTP", "MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "STEP", "Box", "Frame", "Limits", "bytes_of", "exif_to_keep", "fit", "fit_size", "frame_of", "from_base64",
    "heat_picture", "infotext_in", "is_picture", "keep_outside", "mask_of", "natural_order", "notes_of", "picture_bytes",
    "pictures_in", "png_level", "read_as_it_is", "read_base64", "read_image", "read_mask", "save_picture", "settings_in", "size_of_whole",
    "upright_rgb",
]  # fmt: skip
