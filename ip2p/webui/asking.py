"""Where instructions act, asked of the host's loaded checkpoint."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from PIL import Image

from modules import devices, extra_networks, prompt_parser, sd_models, shared

from ..acting import Ask
from ..checkpoints.student import WHERE_IT_ACTS, refuse
from ..edit import Edit
from ..errors import EditError
from ..passes import Runner, Text
from ..relevance import relevance
from .denoiser import OUT_OF_MEMORY, check_edit_model, check_loaded, conditions_of
from .encoding import encoded
from .one_pass import name_of, student_of
from .prompts import check_prompts
from .settings import passes_are_batched


def asks(edit: Edit) -> Ask:
    """What tells where instructions act, with the edit's styles and its negative prompt; call it with the host's queue lock held.

    It raises EditError for a checkpoint that is no edit model, for prompts that the host can't read, and where memory runs out.
    """

    def ask(picture: Image.Image, instruction: str) -> torch.Tensor:
        check_loaded()
        sd_models.reload_model_weights()  # as the host begins a job: a refiner may have left another model behind
        check_edit_model(model := shared.sd_model)
        if student_of(model) is not None:
            raise refuse(WHERE_IT_ACTS, name_of(model))
        styled = shared.prompt_styles.apply_styles_to_prompt(instruction, edit.styles)
        negative = shared.prompt_styles.apply_negative_styles_to_prompt(edit.negative_prompt, edit.styles)
        check_prompts(SimpleNamespace(all_prompts=[styled], all_negative_prompts=[negative], steps=edit.steps))
        runner = Runner(by_pass=not passes_are_batched(), on_memory_shortage=devices.torch_gc)
        try:
            with torch.no_grad(), devices.autocast():
                mode = encoded(model, picture)[0]
                words = text_of(styled, edit), text_of(negative, edit, is_negative=True)
                levels = relevance(network, mode * model.scale_factor, mode, *words, model.alphas_cumprod, runner=runner)
            devices.test_for_nans(levels, "unet")
        except torch.cuda.OutOfMemoryError as e:
            raise EditError(OUT_OF_MEMORY) from e
        except devices.NansException as e:
            raise EditError(str(e)) from e
        return levels.float()

    return ask


def network(latent: torch.Tensor, timestep: torch.Tensor, picture: torch.Tensor, text: Text) -> torch.Tensor:
    """The host's model on some rows → ε or v, whichever it predicts."""
    model = shared.sd_model
    return model.apply_model(latent, timestep, conditions_of(picture, text))


def text_of(words: str, edit: Edit, is_negative: bool = False) -> Text:
    """What the host's text encoder makes of the words as they stand at the first step."""
    plain, _ = extra_networks.parse_prompt(words)
    width, height = edit.frame.size
    prompts = prompt_parser.SdConditioning([plain], is_negative_prompt=is_negative, width=width, height=height)
    (schedule,) = prompt_parser.get_learned_conditioning(shared.sd_model, prompts, edit.steps)
    return schedule[0].cond
