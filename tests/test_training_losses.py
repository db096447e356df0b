"""The network with eight channels, what is dropped, and the losses of the stages."""

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")


from ip2p.dataset.scenes import scene
from ip2p.errors import EditError
from ip2p.pixels import to_tensor
from ip2p.training.config import Model, Stage, Unet, Vae
from ip2p.training.data import dropped
from ip2p.training.losses import DenoisingLoss, perceptual_loss
from ip2p.training.networks import Networks, new_unet, token_ids, widened

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
SHAPES = Model(unet=Unet([32, 32], 1, [0], 2), vae=Vae([32] * 4, 1, 8))


@torch.no_grad()
def test_before_the_first_step_the_network_with_eight_channels_is_the_one_with_four():
    torch.manual_seed(0)
    four = new_unet(SHAPES, 4).eval()
    four.conv_in.bias.normal_()
    eight = widened(four).eval()
    z, condition, text = torch.randn(3, 4, 8, 8), 30 * torch.randn(3, 4, 8, 8), torch.randn(3, 77, 768)
    for t in (1, 500, 999):
        before = four(z, t, encoder_hidden_states=text).sample
        after = eight(torch.cat([z, condition], 1), t, encoder_hidden_states=text).sample
        assert float((before - after).abs().max()) <= 1e-6
    assert torch.equal(eight.conv_in.bias, four.conv_in.bias) and torch.equal(eight.conv_in.weight[:, :4], four.conv_in.weight)
    assert not eight.conv_in.weight[:, 4:].any() and all(p.requires_grad for p in eight.parameters())
    assert widened(eight) is eight
    with pytest.raises(EditError, match="has 8 input channels, and this stage trains one with 4"):
        widened(eight, 4)


def test_the_new_channels_learn(trained, networks):
    before = Networks.read(trained / "text_to_image" / "model").unet.conv_in
    assert before.weight.shape[1] == 4 and networks.unet.conv_in.weight.shape[1] == 8
    assert networks.unet.conv_in.weight[:, 4:].any()


def test_one_number_decides_what_is_dropped():
    """Text alone below .05, both to .10, the image alone to .15."""
    found = [dropped(Stage(), r) for r in (0.0, 0.0499, 0.0501, 0.0999, 0.1001, 0.1499, 0.1501, 0.999)]
    assert found == [(True, False)] * 2 + [(True, True)] * 2 + [(False, True)] * 2 + [(False, False)] * 2


@torch.no_grad()
def test_a_dropped_image_is_zeros_and_its_condition_else_the_unscaled_mode(networks):
    loss = DenoisingLoss(networks, Stage())
    pair = scene(0).pair()
    pixels = torch.stack([to_tensor(pair.original_image)] * 2)
    batch = {"original": pixels, "edited": pixels, "drop_image": torch.tensor([False, True])}
    (mean, std), condition = loss.latents(batch)
    posterior = networks.vae.encode(pixels).latent_dist
    assert torch.equal(condition[0], posterior.mode()[0]) and not condition[1].any()
    assert torch.equal(mean, posterior.mean) and torch.equal(std, posterior.std)


def test_the_loss_is_the_error_of_the_noise_at_the_target_s_drawn_and_scaled_latent(networks, monkeypatch):
    loss = DenoisingLoss(networks, Stage(train_text=True)).eval()
    batch = {
        "mean": torch.randn(2, 4, 8, 8), "deviation": torch.rand(2, 4, 8, 8), "condition": torch.randn(2, 4, 8, 8),
        "drop_image": torch.tensor([False, True]), "tokens": torch.stack([token_ids(networks.tokenizer, t) for t in ("red", "")]),
        "seed": torch.tensor([5, 6]),
    }  # fmt: skip
    seen = []
    monkeypatch.setattr(
        loss.unet, "forward", lambda x, t, encoder_hidden_states, f=loss.unet.forward: seen.append((x, t)) or f(x, t, encoder_hidden_states)
    )
    value = loss(batch)
    ((x, t),) = seen
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[t][:, None, None, None]
    expected = []
    for i, seed in enumerate((5, 6)):
        generator = torch.Generator().manual_seed(seed)
        assert t[i] == torch.randint(1000, (), generator=generator)
        drawn, noise = torch.randn(2, 4, 8, 8, generator=generator)
        z = (batch["mean"][i] + batch["deviation"][i] * drawn) * networks.vae.config.scaling_factor
        torch.testing.assert_close(x[i, :4], alphas[i] ** 0.5 * z + (1 - alphas[i]) ** 0.5 * noise)
        expected.append(noise)
    assert torch.equal(x[0, 4:], batch["condition"][0]) and not x[1, 4:].any()
    with torch.no_grad():
        text = networks.text_encoder(input_ids=batch["tokens"]).last_hidden_state
        torch.testing.assert_close(
            value.detach(), (loss.unet(x, t, encoder_hidden_states=text).sample - torch.stack(expected)).square().mean()
        )


def test_weighted_as_v_the_loss_is_the_error_of_v(networks, monkeypatch):
    """v = √ᾱ·ε − √(1 − ᾱ)·z (Salimans and Ho, arXiv 2202.00512), read off the noise that the network predicts."""
    plain, weighted = (DenoisingLoss(networks, Stage(train_text=True, weighting=weighting)).eval() for weighting in ("epsilon", "v"))
    batch = {
        "mean": torch.randn(3, 4, 8, 8), "deviation": torch.zeros(3, 4, 8, 8), "condition": torch.randn(3, 4, 8, 8),
        "drop_image": torch.tensor([False] * 3), "tokens": torch.stack([token_ids(networks.tokenizer, "red")] * 3),
        "seed": torch.tensor([5, 6, 7]),
    }  # fmt: skip
    calls = []
    monkeypatch.setattr(
        networks.unet, "forward",
        lambda x, t, encoder_hidden_states, f=networks.unet.forward: calls.append((x, t, f(x, t, encoder_hidden_states))) or calls[-1][2],
    )  # fmt: skip
    with torch.no_grad():
        loss, loss_of_epsilon = weighted(batch), plain(batch)
    x, t, prediction = calls[0]
    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[t][:, None, None, None]
    noisy, z = x[:, :4], batch["mean"] * networks.vae.config.scaling_factor
    epsilon = (noisy - alphas**0.5 * z) / (1 - alphas) ** 0.5
    predicted_z = (noisy - (1 - alphas) ** 0.5 * prediction.sample) / alphas**0.5
    v, predicted_v = (
        alphas**0.5 * noise - (1 - alphas) ** 0.5 * latent for noise, latent in ((epsilon, z), (prediction.sample, predicted_z))
    )
    torch.testing.assert_close(loss, (predicted_v - v).square().mean(), rtol=1e-3, atol=0)
    assert loss > 1.5 * loss_of_epsilon, "the noisiest levels count more"


def test_the_perceptual_loss_is_the_distance_that_evaluation_measures():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the perceptual loss needs the packages of the extra evaluate")
    from ip2p.evaluation.metrics import layers_distance
    from ip2p.scorers.efficientnet import Lite0

    pictures = [scene(i).pair().original_image for i in range(2)]
    one, other = (to_tensor(picture)[None] for picture in pictures)
    measured = [[layer[i] for layer in Lite0.on(torch.device("cpu")).layers(pictures)] for i in range(2)]
    loss = perceptual_loss(one.requires_grad_(), other)
    assert float(loss.detach()) == pytest.approx(layers_distance(*measured), rel=1e-4) and not perceptual_loss(other, other)
    loss.backward()
    assert one.grad.any()


def test_gradient_checkpointing_changes_no_gradient(trained):
    batch = {
        "mean": torch.randn(2, 4, 4, 4), "deviation": torch.rand(2, 4, 4, 4), "condition": torch.randn(2, 4, 4, 4),
        "drop_image": torch.tensor([False, True]), "text": torch.randn(2, 77, 32), "seed": torch.tensor([5, 6]),
    }  # fmt: skip
    gradients = []
    for on in (False, True):
        loss = DenoisingLoss(Networks.read(trained / "edit" / "model"), Stage(gradient_checkpointing=on))
        loss.train()
        assert loss.unet.is_gradient_checkpointing == on
        loss(batch).backward()
        gradients.append({name: p.grad for name, p in loss.named_parameters() if p.requires_grad})
        assert not any(p.requires_grad for p in loss.text_encoder.parameters())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])
