"""The tab's own pattern for the names of its files."""

from __future__ import annotations

from pathlib import Path

from modules import images, shared


def name_result(params) -> None:
    """The host's callback before a file is saved: gives a result of the tab the name that our pattern makes, numbered as the host does.

    params: `ImageSaveParams`, whose `p` is the processing object.
    """
    pattern, named = shared.opts.instruct_edit_filename_pattern, getattr(params.p, "named", None)
    if not pattern or named is None:  # `named` is an EditProcessing's
        return
    p, place = params.p, (params.p.iteration, params.p.batch_index)
    if place in named:  # the grid, which is saved after the last result
        return
    named.add(place)
    path = Path(params.filename)
    name = images.FilenameGenerator(p, p.seeds[p.batch_index], p.prompts[p.batch_index], params.image).apply(pattern)
    if shared.opts.save_images_add_number or not name:
        number = f"{images.get_next_sequence_number(str(path.parent), ''):05}"
        name = f"{number}-{name}" if name else number
    params.filename = str(path.parent / f"{name}{path.suffix}")
