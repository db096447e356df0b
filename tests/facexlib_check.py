"""facexlib's face parser run through once with stand-in weights. `test_segmentation.py` runs it with the WebUI's own Python."""

import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from facexlib.detection.retinaface import RetinaFace
from facexlib.parsing.parsenet import ParseNet

from ip2p.errors import EditError
from ip2p.segmentation import PLACES
from ip2p.segmentation.facexlib_parser import DETECTOR, PARSER, FacexlibParser, detector, faces_in, filled, labelled, parser

folder = Path(sys.argv[1])
torch.manual_seed(0)
assert "no folder" in FacexlibParser().missing()
PLACES.kept = folder / "fetched"
PLACES.others = (folder,)
assert FacexlibParser().missing() == ""

# As several GPUs write it.
tensors = {f"module.{name}": tensor for name, tensor in RetinaFace("resnet50", device=torch.device("cpu")).state_dict().items()}
torch.save(tensors, folder / DETECTOR.file)
torch.save(ParseNet(in_size=512, out_size=512, parsing_ch=19).state_dict(), folder / PARSER.file)

image = np.random.default_rng(0).random((160, 240, 3), np.float32)
assert all(box.shape == (4,) for box in faces_in(image[:64, :64]))
labels = labelled(image, np.array([180, 20, 230, 90]))
assert labels.shape == (160, 240) and labels.max() < 19 and not labels[:, :100].any()
assert torch.equal(detector().fpn.output1[0].weight, tensors["module.fpn.output1.0.weight"]) and not parser().training


class Evil:
    def __reduce__(self):
        return Path.touch, (folder / "ran",)


for content in (pickle.dumps(Evil()), b"", b"PK\x03\x04 damaged"):
    (folder / "other.pth").write_bytes(content)
    try:
        filled(ParseNet(in_size=512, out_size=512, parsing_ch=19), folder / "other.pth")
    except EditError as e:
        assert "delete it" in str(e)
    else:
        raise AssertionError("a file of something else was taken")
assert not (folder / "ran").exists()
