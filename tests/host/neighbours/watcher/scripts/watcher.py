"""A small extension of the kind that uses the denoiser's callbacks, as ControlNet-like ones do: what they are given, row by row."""

from modules import script_callbacks

seen = []


def rows(tensor):
    return [row.float().mean().item() for row in tensor]


def before(params):
    given = {name: rows(getattr(params, name)) for name in ("x", "image_cond", "sigma", "text_cond", "text_uncond")}
    seen.append({**given, "step": [params.sampling_step, params.total_sampling_steps]})


def after(params):
    seen[-1]["denoised"] = rows(params.x)
    seen[-1]["inner_model"] = type(params.inner_model).__name__


def taken():
    answer = list(seen)
    seen.clear()
    return answer


script_callbacks.on_cfg_denoiser(before)
script_callbacks.on_cfg_denoised(after)
script_callbacks.on_app_started(lambda demo, app: app.add_api_route("/watcher/taken", taken, methods=["POST"]))
