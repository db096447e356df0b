"""Counts what the networks are asked, keeps final latents, and lets the UNet fail or dawdle on demand."""

import base64
import time

import numpy as np
import torch

from modules import processing, script_callbacks, sd_samplers, sd_samplers_common

SWITCHES = {
    "oom_times": 0,  # so many calls of the UNet run out of memory
    "oom_above": None,  # every call with more rows than this does
    "no_memory": False,  # every call finds the machine's memory full
    "fail_at": None,  # this call raises RuntimeError, counted from 1
    "seconds": 0.0,  # every call takes at least so long
    "text_factor": None,  # a cfg_denoiser callback multiplies the text of the sub-prompts
    "negative_factor": None,  # the same for the negative text
    "output_factor": {},  # a cfg_denoised callback multiplies these rows of the predictions
    "after_factor": None,  # a cfg_after_cfg callback multiplies the guided prediction
    "patch": [],  # what another extension does to a new sampler: "network", "combine", "forward"
    "job": {},  # fields that every job is given before it starts
}


class Recorder:
    def __init__(self):
        self.switches = dict(SWITCHES)
        self.clear()

    def clear(self):
        self.latents = None  # those of the last batch that was decoded
        self.sampler = None  # the last that was made
        self.patched_calls = 0  # of the network, through another extension's patch
        self.unet = []  # of every call of the UNet its rows
        self.calls = []  # of every call of the denoiser the rows of its UNet calls
        self.scenes = []  # of every call of the denoiser the shapes that callbacks saw
        self.noise = []  # of every call of the denoiser its noise level: sigma, or for DDIM and its kin the timestep
        self.encodes = []  # of every VAE encode its rows
        self.decodes = []  # of every VAE decode its rows
        self.sampling = []  # of every run of a sampler the CPU seconds of its thread

    def install(self):
        script_callbacks.on_model_loaded(self.watch)
        script_callbacks.on_cfg_denoiser(self.on_cfg_denoiser)
        script_callbacks.on_cfg_denoised(self.on_cfg_denoised)
        script_callbacks.on_cfg_after_cfg(self.on_cfg_after_cfg)
        wrap(processing, "decode_latent_batch", self.keep_latents)
        wrap(processing, "process_images", self.change_job)
        wrap(sd_samplers, "create_sampler", self.patch_sampler)
        wrap(sd_samplers_common.Sampler, "launch_sampling", self.time_sampling)

    def watch(self, sd_model):
        """Once per model: the host calls this again when it loads other weights into the same one."""
        if getattr(sd_model, "probed", False):
            return
        sd_model.probed = True
        sd_model.model.diffusion_model.register_forward_pre_hook(self.before_unet)
        sd_model.first_stage_model.encoder.register_forward_pre_hook(lambda module, args: self.encodes.append(len(args[0])))

    def before_unet(self, module, args):
        rows = len(args[0])
        self.unet.append(rows)
        if self.calls:
            self.calls[-1].append(rows)
        time.sleep(self.switches["seconds"])
        if self.switches["no_memory"]:
            raise MemoryError
        if self.switches["fail_at"] == len(self.unet):
            raise RuntimeError("the probe was told to fail here")
        above = self.switches["oom_above"]
        if self.switches["oom_times"] > 0 or (above is not None and rows > above):
            self.switches["oom_times"] -= 1
            raise torch.cuda.OutOfMemoryError("the probe was told to run out of memory")

    def on_cfg_denoiser(self, params):
        self.calls.append([])
        self.noise.append(params.sigma.max().item())
        self.scenes.append({name: list(getattr(params, name).shape) for name in ("x", "image_cond", "sigma", "text_cond", "text_uncond")})
        if self.switches["text_factor"] is not None:
            params.text_cond = params.text_cond * self.switches["text_factor"]
        if self.switches["negative_factor"] is not None:
            params.text_uncond = params.text_uncond * self.switches["negative_factor"]

    def on_cfg_denoised(self, params):
        if self.scenes:
            self.scenes[-1]["denoised"] = list(params.x.shape)
        for row, factor in self.switches["output_factor"].items():
            params.x[int(row)] *= factor

    def on_cfg_after_cfg(self, params):
        if self.switches["after_factor"] is not None:
            params.x = params.x * self.switches["after_factor"]

    def keep_latents(self, decode, model, batch, *args, **kwargs):
        self.latents = batch.detach().clone()
        self.decodes.append(len(batch))
        return decode(model, batch, *args, **kwargs)

    def change_job(self, process, p):
        for name, value in self.switches["job"].items():
            assert hasattr(p, name), name
            setattr(p, name, value)
        return process(p)

    def patch_sampler(self, create, *args, **kwargs):
        """Does to a new sampler what Tiled Diffusion ("network"), Neutral Prompt ("combine") and others ("forward") do."""
        self.sampler = create(*args, **kwargs)
        denoiser, patch = self.sampler.model_wrap_cfg, self.switches["patch"]
        if "network" in patch:
            wrap(denoiser.inner_model, "forward", self.count)
        if "combine" in patch:
            denoiser.combine_denoised = denoiser.combine_denoised
        if "forward" in patch:
            denoiser.forward = denoiser.forward
        return self.sampler

    def count(self, network, *args, **kwargs):
        self.patched_calls += 1
        return network(*args, **kwargs)

    def time_sampling(self, launch, *args):
        start = time.thread_time()
        try:
            return launch(*args)
        finally:
            self.sampling.append(time.thread_time() - start)


def wrap(owner, name, around):
    """Replaces a function of `owner` by one that calls `around` with it and its arguments."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))


def packed(tensor):
    """A tensor as JSON can carry it."""
    array = tensor.detach().float().cpu().numpy().astype(np.float32)
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


recorder = Recorder()
