"""A small extension of the kind that patches the network in a sampler, as Tiled Diffusion does: it counts and passes on."""

from modules import script_callbacks, sd_samplers

counted = {"calls": 0}
create_sampler = sd_samplers.create_sampler


def create_patched(*args, **kwargs):
    sampler = create_sampler(*args, **kwargs)
    network = sampler.model_wrap_cfg.inner_model
    forward = network.forward

    def count(*args, **kwargs):
        counted["calls"] += 1
        return forward(*args, **kwargs)

    network.forward = count
    return sampler


def taken():
    answer = dict(counted)
    counted["calls"] = 0
    return answer


sd_samplers.create_sampler = create_patched
script_callbacks.on_app_started(lambda demo, app: app.add_api_route("/patcher/taken", taken, methods=["POST"]))
