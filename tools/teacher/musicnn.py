"""musicnn (Pons & Serra 2019, ISC) in PyTorch, its TensorFlow 1 checkpoints read without TensorFlow.

The weights come with the package `musicnn` of PyPI; the layers follow its models.py, the input its extractor.py (16 kHz,
512-sample frames, hop 256, 96 mel bins, log10(10000 x + 1), patches of 187 frames, 3 s).
"""
import struct

import librosa
import numpy as np
import torch
import torch.nn.functional as F

RATE, HOP, BINS, FRAMES = 16_000, 256, 96, 187
MEL = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=BINS).astype(np.float32)


def spectrogram(samples):
    """Mono f32 at 16 kHz -> [frames, 96], a frame each 16 ms."""
    power = np.abs(librosa.stft(samples, n_fft=512, hop_length=HOP)) ** 2
    # musicnn keeps the energies as half floats before it takes the logarithm.
    return np.log10(10_000 * (MEL @ power).T.astype(np.float16).astype(np.float32) + 1)


def patches(samples):
    """Mono f32 at 16 kHz -> [patches, 187, 96], without overlap; what is shorter than one patch is repeated."""
    mel = spectrogram(samples)
    while len(mel) < FRAMES:
        mel = np.concatenate([mel, mel])
    return np.stack([mel[first : first + FRAMES] for first in range(0, len(mel) - FRAMES + 1, FRAMES)])


class Musicnn(torch.nn.Module):
    """`MSD_musicnn` or `MTT_musicnn`, whose folder is given; only for inference."""

    def __init__(self, folder):
        super().__init__()
        self.weights = {k: torch.from_numpy(v) for k, v in read_checkpoint(folder).items() if "Adam" not in k}

    def norm(self, x, number, dim):
        name = "batch_normalization" + (f"_{number}" if number else "")
        gamma, beta, mean, variance = (
            self.weights[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / torch.sqrt(variance + 1e-3)
        shape = [1] * x.dim()
        shape[dim] = -1
        return x * scale.view(shape) + (beta - mean * scale).view(shape)

    def conv(self, x, number):
        name = "conv2d" + (f"_{number}" if number else "")
        kernel = self.weights[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous()
        return F.relu(F.conv2d(x, kernel, self.weights[f"{name}/bias"]))

    def layer(self, x, number):
        """A layer of the mid-end: [n, channels, frames] -> [n, 64, frames]."""
        x = F.pad(x.transpose(1, 2)[:, None], (0, 0, 3, 3))
        return self.norm(self.conv(x, number), number + 1, 1)[..., 0]

    def middle(self, x):
        """[n, frames, 96] -> what the filters hear, [n, 753, frames]."""
        x = self.norm(x[:, None], 0, 1)
        padded = F.pad(x, (0, 0, 3, 3))
        front = [self.norm(self.conv(padded, i), i + 1, 1).amax(3) for i in (0, 1)]
        for i, length in ((2, 128), (3, 64), (4, 32)):
            padded = F.pad(x, (0, 0, (length - 1) // 2, length - 1 - (length - 1) // 2))
            front.append(self.norm(self.conv(padded, i), i + 1, 1).amax(3))
        front = torch.cat(front, 1)
        first = self.layer(front, 5)
        second = self.layer(first, 6) + first
        third = self.layer(second, 7) + second
        return torch.cat([front, first, second, third], 1)

    def dense(self, most, mean):
        """Maximum and mean over time, [n, 753] each -> the last layer before its activation, [n, 200]."""
        pooled = self.norm(torch.stack([most, mean], 2).flatten(1), 9, 1)
        return pooled @ self.weights["dense/kernel"] + self.weights["dense/bias"]

    def last(self, x):
        return self.norm(F.relu(x), 10, 1)

    def forward(self, x):
        """[n, 187, 96] -> the last layer before the tags, [n, 200]."""
        middle = self.middle(x)
        return self.last(self.dense(middle.amax(2), middle.mean(2)))


def varint(data, at):
    result = shift = 0
    while True:
        byte = data[at]
        at, result, shift = at + 1, result | (byte & 127) << shift, shift + 7
        if byte < 128:
            return result, at


def entries(block):
    """Keys and values of a LevelDB block, whose keys leave out what they share with the one before."""
    restarts = struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < len(block) - 4 - 4 * restarts:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def fields(message):
    """Fields of a protocol buffer message by number."""
    at, found = 0, {}
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(message, at)
        else:
            length, at = varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + length], at + length
        found.setdefault(tag >> 3, []).append(value)
    return found


def read_checkpoint(folder):
    """Name -> array, of a TensorFlow bundle whose index is not compressed."""
    with open(f"{folder}/.index", "rb") as file:
        index = file.read()
    with open(f"{folder}/.data-00000-of-00001", "rb") as file:
        data = file.read()

    def block(handle):
        offset, at = varint(handle, 0)
        size, _ = varint(handle, at)
        if index[offset + size]:
            raise ValueError(f"{folder}/.index is compressed")
        return index[offset : offset + size]

    footer = index[-48:]
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    tensors = {}
    for _, handle in entries(block(footer[at:])):
        for name, value in entries(block(handle)):
            entry = fields(value)
            if not name or entry.get(1, [1])[0] != 1:  # 1: 32-bit floats
                continue
            shape = [fields(dim).get(1, [0])[0] for dim in fields(entry[2][0]).get(2, [])] if 2 in entry else []
            first = entry.get(4, [0])[0]
            tensors[name.decode()] = np.frombuffer(data[first : first + entry[5][0]], "<f4").reshape(shape).copy()
    return tensors
