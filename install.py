"""Run by the WebUI at its start, in a process of its own: adds what this extension needs and the host lacks.

A complete host has all of it, so that nothing is installed and no network is used. torch, torchvision, gradio, numpy,
Pillow and transformers are the host's own: whichever version it has is the one to use.
"""

import launch

for package in ("safetensors", "einops", "omegaconf"):
    if not launch.is_installed(package):
        launch.run_pip(f"install {package}", f"{package} for Instruct edit")
