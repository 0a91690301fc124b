"""The models of bench_peers.py: seeded ASTs on disk and in torch, their inputs, and the same in the peers' own formats.

Everything is made once into the folder given and found there afterwards.
"""

import contextlib
import functools
import logging as python_logging
import pathlib
import sys
import warnings

import numpy as np
import torch
from transformers import ASTFeatureExtractor, ASTForAudioClassification

import bench_child
import bench_sounds
import golden_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {
    "base": dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "tiny": dict(hidden_size=192, num_attention_heads=3, intermediate_size=768),
}
FRAMES, BINS = 1024, 128
# Seeds of the music that int8 models are calibrated with; the music that is measured has seeds from 0.
CALIBRATION = range(1000, 1010)


def load(directory):
    return ASTForAudioClassification.from_pretrained(directory, dtype=torch.float32).eval()


def directory_of(config, folder):
    """The model's Hugging Face directory: models/default for `bundled`, else one with seeded weights."""
    if config == "bundled":
        return ROOT / "models/default"
    directory = folder / config
    if not (directory / "preprocessor_config.json").exists():
        model = golden_model.seeded_model(
            dict(
                SIZES[config], num_hidden_layers=12, patch_size=16, frequency_stride=10, time_stride=10,
                num_mel_bins=BINS, max_length=FRAMES, labels=golden_model.GENRES, seed=4,
            )
        )
        model.save_pretrained(directory)
        ASTFeatureExtractor().save_pretrained(directory)
    return directory


@functools.cache
def features(seed):
    """What a model is given of 10.3 seconds of music."""
    samples = bench_sounds.music(10.3, 16_000, seed).mean(axis=1)
    return ASTFeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np")["input_values"][0]


def inputs(count):
    """An array [count, 1024, 128]."""
    return np.stack([features(seed) for seed in range(count)])


@functools.cache
def expected(config, folder, count):
    """The logits of torch, which everything else is compared with."""
    forward = torch_forward(config, folder)
    return np.concatenate([forward(one[None]) for one in inputs(count)])


def torch_forward(config, folder):
    """A function from inputs to logits, both numpy."""
    model = load(directory_of(config, folder))

    def run(given):
        with torch.inference_mode():
            return model(torch.from_numpy(given)).logits.numpy()

    return run


def training(directory, given):
    """A function that does one training step: forward, backward, AdamW."""
    model, given = load(directory).train(), torch.from_numpy(given)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
    labels = torch.arange(len(given)) % model.config.num_labels

    def step():
        optimizer.zero_grad()
        logits = model(given).logits
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
        optimizer.step()

    return step


@contextlib.contextmanager
def quiet():
    """Converters write their progress and warnings to stdout, where the table goes."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        root = python_logging.getLogger()
        level = root.level
        root.setLevel(python_logging.ERROR)
        try:
            yield
        finally:
            root.setLevel(level)


class Logits(torch.nn.Module):
    """The model as converters want it: a tensor in, a tensor out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_values):
        return self.model(input_values).logits


def openvino_file(config, folder, precision="fp32"):
    """OpenVINO's model for any batch size, converted from torch and for int8 calibrated and quantised by nncf."""
    path = folder / f"{config}-{precision}.xml"
    if path.exists():
        return path
    with quiet():
        import openvino

        if precision == "fp32":
            example = torch.from_numpy(inputs(1))
            model = openvino.convert_model(Logits(load(directory_of(config, folder))), example_input=example)
        else:
            import nncf

            nncf.set_log_level(python_logging.ERROR)
            model = nncf.quantize(
                openvino.Core().read_model(openvino_file(config, folder)),
                nncf.Dataset([features(seed)[None] for seed in CALIBRATION]),
                model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(CALIBRATION),
            )
        openvino.save_model(model, path, compress_to_fp16=False)
    return path


def openvino_forward(config, folder, batch, threads, precision="fp32"):
    """A function from inputs to logits, both numpy."""
    network = bench_child.compile_openvino(openvino_file(config, folder, precision), [batch, FRAMES, BINS], threads)

    def run(given):
        return np.array(network(given)[0])

    return run


def onnxruntime_int8(config, folder, threads):
    """A function from inputs to logits: weights in int8, activations quantised as they come."""
    import onnxruntime

    path, single = folder / f"{config}-int8.onnx", folder / f"{config}.onnx"
    if not path.exists():
        with quiet():
            from onnxruntime.quantization import QuantType, quantize_dynamic

            # The newer exporter (dynamo=True) takes longer and its model runs slower.
            torch.onnx.export(
                Logits(load(directory_of(config, folder))), (torch.from_numpy(inputs(1)),), single,
                input_names=["input_values"], output_names=["logits"], dynamic_axes={"input_values": {0: "batch"}},
                dynamo=False,
            )
            quantize_dynamic(single, path, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(given):
        return session.run(None, {"input_values": given})[0]

    return run
