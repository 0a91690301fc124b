"""A body that learns what musicnn hears in every third of a second, beside what it hears in the whole (PyTorch; a try, see docs/experiments.md).

    distil_columns.py --pool POOL --init MODEL --noise FOLDER [FOLDER ...] --out MODEL [--steps 3600] [--columns-weight 1]

POOL/columns.npz is from columns.py. A sound counts by its first four units of 2.56 s or, if it has fewer, by its first one, heard four times over.
Of the 128 patches of 32 x 32 a window keeps --patches at random; each is to say what the teacher hears in its column (the first 64 principal
components), the mean of the two tokens what it hears in the whole. Noise (5 to 28 dB), level and band limit are on the student's side. OUT has the
body and the head of MODEL, for `init` of a recipe, and heads.pt, what turns tokens into what the teacher hears.
"""
import argparse
import json
import math
import pathlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torchaudio.compliance.kaldi import get_mel_banks

from columns import COLUMNS, UNIT, units_of

RATE, COMPONENTS, BODY = 16_000, 64, "audio_spectrogram_transformer."


class Teacher:
    """What was heard, standardised: `whole` [sounds, 200] and `columns` [sounds, 32, 64], of sounds of one unit and of four."""

    def __init__(self, pool):
        table = np.load(pool / "columns.npz")
        ends = np.cumsum(table["units"])
        self.sounds, whole, columns = [], [], []
        for song, end, count in zip(table["songs"], ends, table["units"]):
            take = slice(end - count, end - count + (4 if count >= 4 else 1))
            self.sounds.append((pool / "genres_stems" / song / "other.wav", count >= 4))
            whole.append(table["whole"][take].mean(0))
            part = table["columns"][take].reshape(-1, 200)
            columns.append(np.tile(part, (4 * COLUMNS // len(part), 1)))
        whole, columns = np.array(whole), np.array(columns)
        self.mean, self.deviation = whole.mean(0), whole.std(0) + 1e-6
        self.whole = torch.from_numpy(np.clip((whole - self.mean) / self.deviation, -5, 5))
        sample = columns[np.random.default_rng(0).permutation(len(columns))[:5000]].reshape(-1, 200).astype(np.float32)
        centre = sample.mean(0)
        variances, axes = np.linalg.eigh(np.cov((sample - centre).T))
        axes = axes[:, ::-1][:, :COMPONENTS] * math.sqrt(COMPONENTS / variances[-COMPONENTS:].sum())  # variance 1 in the mean
        self.columns = torch.from_numpy(np.stack([(rows - centre) @ axes for rows in columns]).astype(np.float16))
        self.of_kind = [np.array([i for i, (_, full) in enumerate(self.sounds) if full == kind]) for kind in (False, True)]


class Student(torch.nn.Module):
    """An AST of any shape with patches that do not overlap, with heads for the whole and for columns; only the patches asked for are computed."""

    def __init__(self, folder):
        super().__init__()
        config = json.loads((folder / "config.json").read_text())
        assert config["time_stride"] == config["frequency_stride"] == config["patch_size"] == 32, "patches must be 32 x 32 without overlap"
        self.layers, self.heads, self.width = config["num_hidden_layers"], config["num_attention_heads"], config["hidden_size"]
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.rest = {name: tensor for name, tensor in weights.items() if not name.startswith(BODY)}
        self.body = {name: torch.nn.Parameter(tensor) for name, tensor in weights.items() if name.startswith(BODY)}
        self.whole, self.columns = torch.nn.Linear(self.width, 200), torch.nn.Linear(self.width, COMPONENTS)
        for number, parameter in enumerate(self.body.values()):
            self.register_parameter(f"body{number}", parameter)

    def linear(self, x, name):
        return F.linear(x, self.body[f"{BODY}{name}.weight"].flatten(1), self.body[f"{BODY}{name}.bias"])

    def norm(self, x, name):
        return F.layer_norm(x, (self.width,), self.body[f"{BODY}{name}.weight"], self.body[f"{BODY}{name}.bias"], 1e-12)

    def forward(self, features, kept):
        """Features [n, 32 c, 128], places [n, k] in the grid of 4 x 32 -> [n, 200], [n, k, 64]; fewer than 32 columns are repeated."""
        n, k = kept.shape
        there = features.shape[1] // 32
        patches = features.view(n, there, 32, 4, 32).permute(0, 3, 1, 4, 2).reshape(n, 4 * there, 1024)
        source = kept // 32 * there + kept % 32 % there
        x = self.linear(patches.gather(1, source[..., None].expand(-1, -1, 1024)), "embeddings.patch_embeddings.projection")
        place = self.body[f"{BODY}embeddings.position_embeddings"][0]
        tokens = [self.body[f"{BODY}embeddings.{name}_token"][0] for name in ("cls", "distillation")]
        x = torch.cat([(torch.cat(tokens) + place[:2]).expand(n, -1, -1), x + place[2:][kept]], 1)
        for layer in (f"encoder.layer.{i}." for i in range(self.layers)):
            h = self.norm(x, layer + "layernorm_before")
            q, key, v = (self.linear(h, f"{layer}attention.attention.{m}").view(n, k + 2, self.heads, -1).transpose(1, 2) for m in ("query", "key", "value"))
            x = x + self.linear(F.scaled_dot_product_attention(q, key, v).transpose(1, 2).flatten(2), layer + "attention.output.dense")
            h = F.gelu(self.linear(self.norm(x, layer + "layernorm_after"), layer + "intermediate.dense"))
            x = x + self.linear(h, layer + "output.dense")
        x = self.norm(x, "layernorm")
        return self.whole(x[:, :2].mean(1)), self.columns(x[:, 2:])


class Batches:
    def __init__(self, args, teacher, random):
        self.args, self.teacher, self.random = args, teacher, random
        files = [path for folder in args.noise for path in sorted(folder.glob("*")) if path.suffix in (".ogg", ".wav", ".flac")]
        # Fold 4 of ESC-50, the first number of its file names, is kept for judging.
        noises = [read(path) for path in files if not path.name.startswith("4-")]
        self.noises = [noise for noise in noises if (noise**2).mean() > 1e-8]
        if not self.noises:
            raise SystemExit(f"no .ogg, .wav or .flac with sound in {', '.join(map(str, args.noise))}")
        self.settings = json.loads((args.init / "preprocessor_config.json").read_text())
        self.bank = F.pad(get_mel_banks(128, 512, float(RATE), 20.0, 0.0, 100.0, -500.0, 1.0)[0], (0, 1))

    def features(self, samples):
        """torchaudio's kaldi.fbank of many sounds at once, as the feature extractor of AST calls it."""
        frames = samples.unfold(1, 400, 160)
        frames = frames - frames.mean(2, keepdim=True)
        frames = (frames - 0.97 * torch.cat([frames[..., :1], frames[..., :-1]], 2)) * torch.hann_window(400, periodic=False)
        return torch.log((torch.fft.rfft(frames, 512).abs() ** 2 @ self.bank.T).clamp_min(1.1920928955078125e-07))

    def next(self):
        random, kinds = self.random, self.teacher.of_kind
        full = random.random() < self.args.windows_share if len(kinds[0]) and len(kinds[1]) else len(kinds[0]) == 0
        chosen = random.choice(kinds[full], self.args.batch)
        sounds = np.stack([units_of(self.teacher.sounds[i][0])[: 4 if full else 1].reshape(-1) for i in chosen])
        for sound in sounds:
            for _ in range(random.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
                noise = self.noises[random.integers(len(self.noises))][: len(sound)]
                start = random.integers(len(sound) - len(noise) + 1)
                ratio = math.sqrt((sound**2).mean() / max((noise**2).mean(), 1e-9)) * 10 ** (-random.uniform(5, 28) / 20)
                sound[start : start + len(noise)] += ratio * noise
            sound *= random.uniform(0.2, 1) / max(np.abs(sound).max(), 1e-3)
        samples = torch.from_numpy(sounds)
        features = self.features(torch.cat([samples, samples[:, :240]], 1))
        for one in features:
            if random.random() < 0.3:
                one[:, random.integers(95, 128) :] = random.uniform(-15.9, -12)
        features = (features - self.settings["mean"]) / (2 * self.settings["std"])
        kept = torch.from_numpy(np.argsort(random.random((len(chosen), 128)), 1)[:, : self.args.patches].copy())
        columns = self.teacher.columns[chosen].float().gather(1, (kept % 32)[..., None].expand(-1, -1, COMPONENTS))
        return features, kept, self.teacher.whole[chosen].float(), columns


def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(1), rate, RATE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pool", "init", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--noise", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=32, help="sounds in a step")
    parser.add_argument("--patches", type=int, default=39, help="of 128, how many a sound keeps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=4e-4, help="highest learning rate; it falls to a hundredth by a cosine")
    parser.add_argument("--columns-weight", type=float, default=1.0, help="weight of the columns' error beside that of the whole; 0: without")
    parser.add_argument("--windows-share", type=float, default=0.3, help="share of the batches with sounds of four units")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    teacher, student = Teacher(args.pool), Student(args.init)
    batches = Batches(args, teacher, np.random.default_rng(args.seed))
    matrices = [p for p in student.parameters() if p.dim() in (2, 4)]
    others = [p for p in student.parameters() if p.dim() not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer, begun = torch.optim.AdamW(groups, lr=args.rate), time.time()
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(batches.next)
        for step in range(1, args.steps + 1):
            rate = args.rate * min(1, step / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 1) / args.steps)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            features, kept, whole, columns = coming.result()
            coming = ahead.submit(batches.next)
            said, said_of_columns = student(features, kept)
            losses = F.mse_loss(said, whole), F.mse_loss(said_of_columns, columns)
            (losses[0] + args.columns_weight * losses[1]).backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % 100 == 0:
                print(f"{step}/{args.steps} whole {losses[0]:.3f} columns {losses[1]:.3f}, {step * args.batch / (time.time() - begun):.0f} a second", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({name: p.detach().contiguous() for name, p in {**student.body, **student.rest}.items()}, args.out / "model.safetensors", {"format": "pt"})
    heads = {"whole": student.whole.state_dict(), "columns": student.columns.state_dict()}
    torch.save(heads | {"mean": torch.from_numpy(teacher.mean), "deviation": torch.from_numpy(teacher.deviation)}, args.out / "heads.pt")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(args.init / name, args.out)


main()
