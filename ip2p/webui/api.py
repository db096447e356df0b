"""`/instruct-edit/v1/…`: the edit over HTTP, in the host's own documentation, behind its authentication and its queue."""

from __future__ import annotations

import base64
import json
from reprlib import repr as short

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from PIL import Image
from starlette.concurrency import run_in_threadpool

from modules import progress, sd_samplers, sd_schedulers, shared
from modules.call_queue import queue_lock

from .. import __version__, images
from ..edit import Edit, result_asked
from ..errors import EditError
from ..presets import preset_named, quoted
from ..segmentation import missing
from ..where import NAMES
from . import picker, pictures
from .api_models import MAX_NAME, EditRequest, EditResponse, PresetResponse, RegionRequest, StatusResponse
from .chain_run import heat_infotext, run_chain
from .loan import lent
from .models import chosen_defaults, model_status
from .processing import NO_ROOM, is_lack_of_memory

PREFIX = "/instruct-edit/v1"
MAX_BODY = 400_000_000  # bytes: room for 64 megapixels in base64 without any compression, and for their mask
MAX_MARKS = 50_000  # commas and brackets of a body, base64 has none: each can cost hundreds of bytes once it is an object


def register(demo, app: FastAPI) -> None:
    """Adds the routes; those of the API when the WebUI was started with --api. `demo` is None under --nowebui."""
    router = APIRouter(route_class=Route)
    router.add_api_route("/internal/instruct-edit-picture", pictures.take, methods=["POST"], include_in_schema=False)
    if shared.cmd_opts.api or shared.cmd_opts.nowebui:
        protected = [Depends(_authentication())] if shared.cmd_opts.api_auth else []

        def add(path, endpoint, method, model):
            router.add_api_route(
                PREFIX + path, endpoint, methods=[method], response_model=model, dependencies=protected, tags=["Instruct edit"]
            )

        add("/edit", edit, "POST", EditResponse)
        add("/status", status, "GET", StatusResponse)
        add("/presets", presets, "GET", list[PresetResponse])
    app.include_router(router)


class Route(APIRoute):
    """Answers a request that it can't take with one sentence, as every refusal here; the host's routes keep FastAPI's list of faults."""

    def get_route_handler(self):
        answer = super().get_route_handler()

        async def handler(request: Request):
            try:
                return await answer(LimitedRequest(request.scope, request.receive))
            except RequestValidationError as e:
                e.__traceback__, refusal = None, HTTPException(422, first_fault(e))
            except HTTPException as e:
                e.__traceback__, refusal = None, HTTPException(e.status_code, e.detail, e.headers)
            # Raised anew: the traceback of the first holds the body and its picture, in a cycle that is collected hours later.
            raise refusal

        return handler


class LimitedRequest(Request):
    """Keeps a body of MAX_BODY bytes at most. A longer one is read to its end, so that the client gets to see the answer."""

    async def stream(self):
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size <= MAX_BODY:
                yield chunk
        if size > MAX_BODY:
            raise HTTPException(413, f"The request has {size // 10**6} MB; {MAX_BODY // 10**6} are allowed: send a smaller picture.")

    async def json(self):
        body = await self.body()
        marks = sum(map(body.count, (b",", b"[", b"{")))
        if marks > MAX_MARKS:
            raise HTTPException(422, f"The request has {marks} commas and brackets; {MAX_MARKS} are allowed.")
        return await run_in_threadpool(json.loads, body)  # not here, where every other answer would wait for it


def first_fault(error: RequestValidationError) -> str:
    """A sentence that names the field and says what may be in it."""
    fault = error.errors()[0]
    if fault["type"] == "value_error.jsondecode" or len(fault["loc"]) < 2:
        return f"The request is no JSON object in a body of type application/json: {fault['msg']}."
    *outer, name = map(str, fault["loc"][1:])
    if name == "__root__":
        return fault["msg"]
    fields, sent = EditRequest.__fields__, error.body
    if outer == ["region"]:
        fields, sent = RegionRequest.__fields__, sent["region"]
    if fault["type"] == "value_error.missing":
        return f"The field {quoted(name)} is missing."
    words = " ".join([*outer, name]).replace("_", " ")
    if fault["type"] == "value_error.any_str.max_length":
        return f"The {words} is {len(str(sent[name]))} characters long; {MAX_NAME} are allowed."
    field = fields.get(name)
    low, high = (getattr(field.field_info, limit, None) if field else None for limit in ("ge", "le"))
    if low is None:
        return f"The field {quoted(' '.join([*outer, name]))} can't be taken: {fault['msg']}."
    kind = "whole number" if issubclass(field.type_, int) else "number"
    return f"The {words} must be a {kind} between {low} and {high}, not {short(sent[name])}."


def _authentication():
    """The host's own rule for --api-auth: user:password pairs, separated by commas."""
    from secrets import compare_digest

    credentials = dict(pair.split(":", 1) for pair in shared.cmd_opts.api_auth.split(","))

    def check(request: Request, login: HTTPBasicCredentials = Depends(HTTPBasic())):
        expected = credentials.get(login.username)
        if expected is None or not compare_digest(login.password.encode(), expected.encode()):
            raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})
        request.state.user = login.username

    return check


def user_of(request: Request) -> str | None:
    """Who sent it; None where the API asks nobody for a name."""
    return getattr(request.state, "user", None)


def edit(request: EditRequest, user: str | None = Depends(user_of)) -> EditResponse:
    """Edits a picture by an instruction."""
    try:
        suited = chosen_defaults(request.model)
        fields = request.dict(exclude={"preset", "choices", "variations", "own_size", "model"})
        asked = request.result if "result" in request.__fields_set__ else None
        fields["result"] = None if asked is request.own_size is None else result_asked(asked, request.own_size)
        fields["region"] = request.region and request.region.where()
        if request.preset is not None:
            preset = preset_named(request.preset, picker.presets(user), picker.LISTED)
            ready = {"instruction": preset.instruction_for(**request.choices), **suited.ready(preset)}
            if request.mask is None and not missing(preset.region):
                ready["region"] = preset.where
            fields.update((k, v) for k, v in ready.items() if k not in request.__fields_set__)
            fields["variations"] = preset.variations(request.variations, **request.choices) if request.variations else ()
        elif request.choices or request.variations:
            raise EditError("Choices and variations fill in the words of a preset: name one, or leave them out.")
        fields["image"] = read_picture(request.image) if request.image else None
        fields["mask"] = read_mask(request.mask) if request.mask else None
        fields["styles"] = tuple(request.styles)
        taken = suited.taken(fields)
        fields |= {**taken, "scale_ranges": suited.scale_ranges}
        settings = Edit(**fields)
        task = progress.create_task_id("instruct-edit")
        progress.add_task_to_queue(task)
        with queue_lock:
            shared.state.begin(job="instruct_edit")
            progress.start_task(task)
            try:
                with lent(request.model):
                    run = run_chain(settings)
            finally:
                progress.finish_task(task)
                shared.state.end()
        pictures = [png_base64(result.image, result.infotext) for result in run.results]
        infotexts = [result.infotext for result in run.results]
        heat_maps = [result.heat_map and png_base64(result.heat_map, heat_infotext(result)) for result in run.results]
    except EditError as e:
        raise HTTPException(422, str(e)) from e
    except (MemoryError, RuntimeError) as e:
        if not is_lack_of_memory(e):
            raise
        raise HTTPException(422, NO_ROOM) from e
    if len(heat_maps) == settings.count * settings.batch_size == 1 and heat_maps[0]:  # where it was before there was a field for it
        pictures, infotexts = pictures + heat_maps, [*infotexts, heat_infotext(run.results[0])]
    return EditResponse(
        images=pictures,
        infotexts=infotexts,
        seeds=[result.seed for result in run.results],
        heat_maps=heat_maps if settings.heat_map else [],
        info={**json.loads(run.processed.js()), "comments": run.processed.comments, "interrupted": run.interrupted, "taken": taken},
    )


def read_picture(text: str) -> Image.Image:
    return images.read_base64(text, background=shared.opts.img2img_background_color, limits=images.HTTP)


def read_mask(text: str) -> Image.Image:
    return images.read_mask(images.from_base64(text, "mask"), limits=images.HTTP)


def png_base64(image: Image.Image, infotext: str = "") -> str:
    return base64.b64encode(images.picture_bytes(image, infotext=infotext)).decode()


def presets(user: str | None = Depends(user_of)) -> list[PresetResponse]:
    """The ready instructions: the shipped ones and those that the user saved here."""
    return [PresetResponse(**preset.as_dict(), detail=preset.detail) for preset in picker.presets(user).values()]


def status() -> StatusResponse:
    """What is loaded, what could be, and how far the running job is. Loads nothing."""
    state = shared.state
    jobs = max(state.job_count, 1)
    done = (state.job_no + state.sampling_step / max(state.sampling_steps, 1)) / jobs if state.job else 0.0
    return StatusResponse(
        version=__version__,
        **model_status(),
        busy=bool(state.job),
        progress=min(done, 1.0),
        samplers=list(sd_samplers.all_samplers_map),
        schedulers=[x.label for x in sd_schedulers.schedulers],
        regions={name: missing(name) or None for name in NAMES},
    )
