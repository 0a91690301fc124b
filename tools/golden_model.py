"""Writes crates/messymash/tests/golden/model: two small ASTs, and what PyTorch computes with them.

    python -m venv VENV && VENV/bin/pip install -r tools/requirements-reference.txt
    VENV/bin/python tools/golden_model.py

The folder's README.md lists every tensor. The weights are seeded and far from a fresh initialisation: biases,
LayerNorms, tokens, position embeddings and the head are all random, so that no gradient vanishes and no term can be
forgotten unnoticed. Expected values are computed in DOUBLE precision from the weights as stored (single precision), so a
difference to them is the fault of whoever is compared; the program fails if PyTorch itself in single precision does not
come within the tolerances that the tests use.
"""

import json
import pathlib
import re
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification
from transformers.utils import logging

OUT = pathlib.Path(__file__).resolve().parent.parent / "crates/messymash/tests/golden/model"
MAX_BYTES = 700_000
GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
BATCH = 3
STEPS = 10
LEARNING_RATE, BETAS, EPSILON, WEIGHT_DECAY, MAX_NORM = 1e-3, (0.9, 0.999), 1e-8, 0.01, 1.0
LABEL_SMOOTHING = 0.1
# What the tests allow between us and the expected values.
LOGITS_WITHIN, GRADIENTS_WITHIN = 1e-4, 1e-3

CONFIGURATIONS = {
    "small": dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, patch_size=4,
        frequency_stride=3, time_stride=2, num_mel_bins=16, max_length=24, labels=GENRES[:5], seed=1,
    ),
    # No biases in query, key and value; the MLP narrower than the model, so that the two cannot be taken for each other.
    "strided": dict(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, patch_size=16,
        frequency_stride=16, time_stride=16, num_mel_bins=32, max_length=64, qkv_bias=False, labels=GENRES, seed=2,
    ),
}

# transformers 5 renamed the modules in memory and still saves under the names of transformers 4, which is what every
# published checkpoint uses. (In memory, in the file.)
RENAMED = [
    (r"\.layers\.(\d+)\.attention\.q_proj\.", r".encoder.layer.\1.attention.attention.query."),
    (r"\.layers\.(\d+)\.attention\.k_proj\.", r".encoder.layer.\1.attention.attention.key."),
    (r"\.layers\.(\d+)\.attention\.v_proj\.", r".encoder.layer.\1.attention.attention.value."),
    (r"\.layers\.(\d+)\.attention\.o_proj\.", r".encoder.layer.\1.attention.output.dense."),
    (r"\.layers\.(\d+)\.mlp\.fc1\.", r".encoder.layer.\1.intermediate.dense."),
    (r"\.layers\.(\d+)\.mlp\.fc2\.", r".encoder.layer.\1.output.dense."),
    (r"\.layers\.(\d+)\.layernorm_", r".encoder.layer.\1.layernorm_"),
]


def file_name(name):
    """A parameter's name in the file, from its name in memory."""
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def decays(name):
    """Weight decay is for the weights of linear layers and of the patch projection alone."""
    return name.endswith(".weight") and "layernorm" not in name


def seeded_model(configuration):
    options = dict(configuration)
    labels, seed = options.pop("labels"), options.pop("seed")
    config = ASTConfig(
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}, **options
    )
    model = ASTForAudioClassification(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=random)
            if "layernorm" in name:
                values = values * 0.2 + (1.0 if name.endswith("weight") else 0.0)
            elif name.endswith(".weight"):
                values = values * 1.2 / parameter[0].numel() ** 0.5
            elif name.endswith(".bias"):
                values = values * 0.2
            else:
                values = values * 0.5
            parameter.copy_(values)
    return model.eval()


def inputs(config, seed):
    """Smooth in time and frequency like a spectrogram, of about the range that normalising leaves."""
    random = torch.Generator().manual_seed(100 + seed)
    coarse = torch.randn(BATCH, 1, config.max_length // 4, config.num_mel_bins // 4, generator=random)
    size = (config.max_length, config.num_mel_bins)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")[:, 0]
    values = 0.8 * smooth + 0.3 * torch.randn(BATCH, *size, generator=random) - 0.3
    return values, torch.tensor([3, 0, config.num_labels - 1])


def loss_of(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)


def forward_backward(model, input_values, labels):
    model.zero_grad(set_to_none=True)
    logits = model(input_values).logits
    loss = loss_of(logits, labels)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return logits.detach(), loss.detach(), gradients


def train(model, input_values, labels):
    """Ten steps on the same batch; the loss and the gradient's norm of each are those before its update."""
    groups = [
        {"params": [p for n, p in model.named_parameters() if decays(n)], "weight_decay": WEIGHT_DECAY},
        {"params": [p for n, p in model.named_parameters() if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model(input_values).logits, labels)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item())
        losses.append(loss.item())
        optimizer.step()
    final = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return torch.tensor(losses), torch.tensor(norms), final


def grid(config, max_length):
    frequency = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    time = (max_length - config.patch_size) // config.time_stride + 1
    return frequency, time


def resized_positions(model, max_length, how):
    """Position embeddings for another max_length, by the AST paper's code (src/models/ast_models.py).

    It interpolates linearly to a longer grid, and for a shorter one cuts out the middle ("cut"). "bilinear" interpolates
    in both cases, as that code does for other changes of the grid. The two tokens before the grid stay as they are.
    """
    positions = model.audio_spectrogram_transformer.embeddings.position_embeddings.detach().double()
    hidden = positions.shape[2]
    frequency, time = grid(model.config, model.config.max_length)
    _, new_time = grid(model.config, max_length)
    patches = positions[:, 2:, :].transpose(1, 2).reshape(1, hidden, frequency, time)
    if how == "cut":
        start = time // 2 - new_time // 2
        patches = patches[:, :, :, start : start + new_time]
    else:
        patches = torch.nn.functional.interpolate(
            patches, size=(frequency, new_time), mode="bilinear", align_corners=False
        )
    patches = patches.reshape(1, hidden, frequency * new_time).transpose(1, 2)
    return torch.cat([positions[:, :2, :], patches], dim=1)


def relative(actual, expected):
    """Largest difference as a share of the largest expected value."""
    return ((actual.double() - expected.double()).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


def check_names(folder, model):
    stored = load_file(folder / "model.safetensors")
    expected = {file_name(name): parameter for name, parameter in model.named_parameters()}
    assert stored.keys() == expected.keys(), stored.keys() ^ expected.keys()
    assert all(torch.equal(stored[name], expected[name]) for name in stored)


def save_variants(model, folder, expected, input_values):
    """The same weights rounded to 16 bits, and under the names of transformers 5; `expected` gets the logits."""
    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        rounded = ASTForAudioClassification.from_pretrained(folder / "hf", dtype=dtype)
        rounded.save_pretrained(folder / f"hf-{name}")
        shutil.copy(folder / "hf/preprocessor_config.json", folder / f"hf-{name}")
        logits = rounded.double()(input_values).logits.detach()
        expected[f"logits.{name}"] = logits
        print(f"  {name}: logits move by {(logits - expected['logits']).abs().max():.1e}")
    renamed = folder / "hf-v5-names"
    shutil.copytree(folder / "hf", renamed)
    parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    save_file(parameters, renamed / "model.safetensors", metadata={"format": "pt"})
    again = ASTForAudioClassification.from_pretrained(renamed)
    assert all(torch.equal(p, parameters[n]) for n, p in again.named_parameters()), "transformers reads both spellings"


def write(name, configuration):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model = seeded_model(configuration)
    config = model.config
    model.save_pretrained(folder / "hf")
    ASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length).save_pretrained(folder / "hf")
    check_names(folder / "hf", model)

    input_values, labels = inputs(config, configuration["seed"])
    single = forward_backward(model, input_values, labels)
    double_model = ASTForAudioClassification.from_pretrained(folder / "hf").double()
    logits, loss, gradients = forward_backward(double_model, input_values.double(), labels)
    expected = {"input_values": input_values, "labels": labels, "logits": logits, "loss": loss.reshape(1)}
    if name == "small":
        save_variants(model, folder, expected, input_values.double())
        expected["position_embeddings.40"] = resized_positions(model, 40, "bilinear")
        expected["position_embeddings.16"] = resized_positions(model, 16, "bilinear")
        expected["position_embeddings.16.cut"] = resized_positions(model, 16, "cut")
    expected["step.losses"], expected["step.gradient_norms"], final = train(double_model, input_values.double(), labels)
    single_losses, _, single_final = train(model, input_values, labels)

    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, loss {loss:.4f}, logits up to "
          f"{logits.abs().max():.2f}")
    print("  losses", " ".join(f"{value:.4f}" for value in expected["step.losses"]))
    print("  norms ", " ".join(f"{value:.3f}" for value in expected["step.gradient_norms"]))
    worst_gradient = worst_final = ("", 0.0)
    for parameter, gradient in gradients.items():
        if parameter.endswith("k_proj.bias"):
            # A constant added to all keys shifts every score of a query alike, and softmax does not see it.
            assert gradient.abs().max() < 1e-12 and single[2][parameter].abs().max() < 1e-6
        else:
            root_mean_square = gradient.square().mean().sqrt().item()
            assert root_mean_square > 1e-4, f"{parameter}: the gradient is trivial"
            worst_gradient = max(
                worst_gradient, (parameter, relative(single[2][parameter], gradient)), key=lambda pair: pair[1]
            )
            moved = (single_final[parameter].double() - final[parameter]).abs().max().item()
            worst_final = max(worst_final, (parameter, moved), key=lambda pair: pair[1])
        expected[f"gradient.{file_name(parameter)}"] = gradient
        expected[f"final.{file_name(parameter)}"] = final[parameter]
    single_logits = (single[0] - logits).abs().max().item()
    single_steps = relative(single_losses, expected["step.losses"])
    print(f"  PyTorch in single precision: logits {single_logits:.1e}, gradients {worst_gradient[1]:.1e} (relative, "
          f"{worst_gradient[0]}), losses {single_steps:.1e} (relative), parameters after {STEPS} steps "
          f"{worst_final[1]:.1e} ({worst_final[0]})")
    assert single_logits < LOGITS_WITHIN and max(worst_gradient[1], single_steps) < GRADIENTS_WITHIN
    norms = expected["step.gradient_norms"]
    assert norms.min() < MAX_NORM < norms.max(), "some steps must be clipped and some not"

    tensors = {key: value.contiguous() if value.dtype == torch.int64 else value.float().contiguous()
               for key, value in expected.items()}
    save_file(tensors, folder / "expected.safetensors")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"  {folder}: {size} bytes")
    assert size < MAX_BYTES
    assert json.loads((folder / "hf/config.json").read_text())["id2label"]["1"] == "classical"


def main():
    logging.disable_progress_bar()
    torch.manual_seed(0)
    for name, configuration in CONFIGURATIONS.items():
        write(name, configuration)


if __name__ == "__main__":
    main()
