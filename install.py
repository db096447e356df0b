"""Run by the WebUI at its start, in a process of its own: adds what this extension needs and the host lacks.

A complete host has all of it, so that nothing is installed and no network is used. torch, torchvision, gradio, numpy,
Pillow and transformers are the host's own: whichever version it has is the one to use. What is added is what WebUI v1.10.1 has,
with which this is tested.
"""

import launch

for package, version in (("safetensors", "0.4.2"), ("einops", "0.4.1"), ("omegaconf", "2.2.3")):
    if not launch.is_installed(package):
        launch.run_pip(f"install {package}=={version}", f"{package} for Instruct edit")
