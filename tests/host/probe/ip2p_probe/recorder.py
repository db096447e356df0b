"""Counts what the networks are asked, keeps final latents, and lets the UNet fail or dawdle on demand."""

import base64
import time

import numpy as np
import torch

from modules import processing, script_callbacks, sd_samplers_common

SWITCHES = {
    "oom_times": 0,  # so many calls of the UNet run out of memory
    "oom_above": None,  # every call with more rows than this does
    "fail_at": None,  # this call raises RuntimeError, counted from 1
    "seconds": 0.0,  # every call takes at least so long
    "text_factor": None,  # a cfg_denoiser callback multiplies the text of the sub-prompts
    "negative_factor": None,  # the same for the negative text
    "output_factor": {},  # a cfg_denoised callback multiplies these rows of the predictions
    "job": {},  # fields that every job is given before it starts
}


class Recorder:
    def __init__(self):
        self.switches = dict(SWITCHES)
        self.latents = None
        self.samplers = []
        self.clear()

    def clear(self):
        self.unet = []  # of every call of the UNet its rows
        self.calls = []  # of every call of the denoiser the rows of its UNet calls
        self.scenes = []  # of every call of the denoiser the shapes that callbacks saw
        self.noise = []  # of every call of the denoiser its noise level: sigma, or for DDIM and its kin the timestep
        self.encodes = []  # of every VAE encode its rows
        self.sampling = []  # of every run of a sampler the CPU seconds of its thread
        self.last_call_at = None

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
        self.last_call_at = time.time()
        time.sleep(self.switches["seconds"])
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

    def install(self):
        script_callbacks.on_model_loaded(self.watch)
        script_callbacks.on_cfg_denoiser(self.on_cfg_denoiser)
        script_callbacks.on_cfg_denoised(self.on_cfg_denoised)
        decode, process = processing.decode_latent_batch, processing.process_images

        def keep_latents(model, batch, *args, **kwargs):
            self.latents = batch.detach().clone()
            return decode(model, batch, *args, **kwargs)

        def with_fields(p):
            for name, value in self.switches["job"].items():
                assert hasattr(p, name), name
                setattr(p, name, value)
            return process(p)

        processing.decode_latent_batch, processing.process_images = keep_latents, with_fields
        launch = sd_samplers_common.Sampler.launch_sampling

        def time_sampling(sampler, steps, func):
            start = time.thread_time()
            try:
                return launch(sampler, steps, func)
            finally:
                self.sampling.append(time.thread_time() - start)

        sd_samplers_common.Sampler.launch_sampling = time_sampling


def packed(tensor):
    """A tensor as JSON can carry it."""
    array = tensor.detach().float().cpu().numpy().astype(np.float32)
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


recorder = Recorder()
