"""POST /probe/…: the tests' view into a running WebUI."""

import base64
import io
import os
import re

import numpy as np
import torch
from fastapi import Body
from omegaconf import OmegaConf
from PIL import Image

from modules import script_callbacks, sd_models_config, shared
from modules.call_queue import queue_lock
from modules.processing import process_images

from .breakage import needs, registered, startup, without
from .recorder import SWITCHES, packed, recorder
from .reference import Reference


def register():
    recorder.install()
    script_callbacks.on_app_started(add_routes)


def add_routes(demo, app):
    for endpoint in (
        clear,
        records,
        latents,
        denoiser,
        switch,
        reference,
        memory,
        peak,
        config,
        tokens,
        parser,
        needs,
        registered,
        startup,
        without,
    ):
        app.add_api_route(f"/probe/{endpoint.__name__}", endpoint, methods=["POST"])


def clear():
    """Forgets what was recorded and turns every switch off."""
    recorder.clear()
    recorder.switches.update(SWITCHES)
    return {}


def records():
    return {name: getattr(recorder, name) for name in ("unet", "calls", "scenes", "noise", "encodes", "decodes", "sampling")}


def latents():
    """Those of the last batch that was decoded, or null."""
    return None if recorder.latents is None else packed(recorder.latents)


def denoiser():
    """What the last run left of its denoiser."""
    it = recorder.sampler.model_wrap_cfg
    return {
        "class": type(it).__name__,
        "attributes": list(vars(it)),
        "patched_calls": recorder.patched_calls,
        "unet_calls": len(recorder.unet),
    }


def switch(settings: dict = Body()):
    unknown = settings.keys() - SWITCHES.keys()
    assert not unknown, unknown
    recorder.switches.update(settings)
    return recorder.switches


def reference(request: dict = Body()):
    """The plain three-pass edit of the same request; answers its final latents."""
    image = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")
    fields = {
        name: request[name]
        for name in ("negative_prompt", "steps", "seed", "sampler_name", "scheduler", "width", "height", "batch_size", "styles")
        if name in request
    }
    with queue_lock:
        p = Reference(
            sd_model=shared.sd_model, prompt=request["instruction"], init_images=[image], do_not_save_samples=True, do_not_save_grid=True,
            denoising_strength=request.get("denoising_strength", 1.0), n_iter=request.get("count", 1), **fields,
        )  # fmt: skip
        p.set_scales(
            request.get("text_scale", 7.5), request.get("image_scale", 1.5),
            (request.get("text_start", 0), request.get("text_end", 1)), (request.get("image_start", 0), request.get("image_end", 1)),
            request.get("speed") == "fast",
        )  # fmt: skip
        shared.state.begin(job="reference")
        try:
            process_images(p)
        finally:
            shared.state.end()
            p.close()
    return packed(recorder.latents)


def memory():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak():
    """Largest resident memory of this process in bytes since this was last asked."""
    with open("/proc/self/status") as status:
        most = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1])
    with open("/proc/self/clear_refs", "w") as clear_refs:
        clear_refs.write("5")
    return most


def config(shapes: dict = Body(embed=True)):
    """The configuration that the host chooses for a checkpoint of these tensors."""
    state_dict = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return OmegaConf.to_container(OmegaConf.load(sd_models_config.find_checkpoint_config(state_dict, None)))


def tokens(text: str = Body(embed=True)):
    """Token ids of a text as the host gives them to the text encoder, in chunks of 77."""
    (chunks,), _ = shared.sd_model.cond_stage_model.process_texts([text])
    return [chunk.tokens for chunk in chunks]


def parser(labels: str = Body(embed=True)):
    """Puts a stand-in for facexlib's face parser, whose weights can't be had here, before all that find regions: it answers with this map
    of labels, a PNG in base64. Takes it out again where the text is empty."""
    from ip2p.segmentation import named
    from ip2p.segmentation.parsed_faces import ParsedFaces

    class DrawnMap:
        def missing(self):
            return ""

        def label_maps(self, image):
            drawn = Image.open(io.BytesIO(base64.b64decode(labels)))
            return [np.asarray(drawn.resize(image.shape[1::-1], Image.Resampling.NEAREST))]

    named.PROVIDERS[:] = [one for one in named.PROVIDERS if type(getattr(one, "parser", None)).__name__ != "DrawnMap"]
    if labels:
        named.PROVIDERS.insert(0, ParsedFaces(DrawnMap()))
    return {}
