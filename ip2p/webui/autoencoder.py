"""LDM's autoencoder with another number of normalisation groups than the 32 that are fixed in its code.

A yaml of a checkpoint names this class where a first level of 32 channels would otherwise be normalised channel by channel, which
takes the mean colour out of them.
"""

from ldm.models import autoencoder
from torch.nn import GroupNorm


class AutoencoderKL(autoencoder.AutoencoderKL):
    def __init__(self, *args, norm_groups: int = 32, **kwargs):
        super().__init__(*args, **kwargs)
        for module in self.modules():
            if isinstance(module, GroupNorm):
                module.num_groups = norm_groups
