"""A body that learns what musicnn hears in every third of a second, beside what it hears in the whole (PyTorch; tries, see docs/experiments.md).

    distil_columns.py --pool POOL [POOL ...] --init MODEL --noise FOLDER [FOLDER ...] --out MODEL [--steps 3600] [--columns-weight 1]
                      [--genres TABLE]

POOL/columns.npz is from columns.py. A sound counts by its first four units of 2.56 s (a window) or, if it has fewer, by its first one, which a window
holds four times over, from any moment of it on. Of several pools each is drawn from as often as any other that has sounds of the length wanted.

INIT is an AST of any shape, its patches overlapping or not (tools/overlap.py), with a time stride that divides 256 frames. Of the patches of a window,
or the different ones of a unit, --patches are kept at random; each is to say what the teacher hears in the columns of 0.32 s where it begins and ends
(the first 64 principal components, the mean of both), the mean of the two tokens what it hears in the whole and, with a table of genres.py (of the same
pools, without --sorted), what genre it takes it for. Noise (5 to 28 dB), level and band limit are on the student's side, on the powers of the mel
bins, which are computed once (POOL/spectra.npy, 64 KiB a unit). OUT has the body and the head of MODEL, for `init` of a recipe, and heads.pt, what
turns tokens into what the teacher hears (and the names of its genres).
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
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchaudio.compliance.kaldi import get_mel_banks

from columns import COLUMNS, UNIT, units_of

RATE, COMPONENTS, BODY = 16_000, 64, "audio_spectrogram_transformer."
FRAMES, BINS, COLUMN = UNIT // 160, 128, UNIT // 160 // COLUMNS  # of the student's spectrogram: in a unit, in height, in a column
FLOOR = 1.1920928955078125e-07  # torchaudio's kaldi.fbank takes no logarithm of less
BANK = F.pad(get_mel_banks(BINS, 512, float(RATE), 20.0, 0.0, 100.0, -500.0, 1.0)[0], (0, 1))


def powers(samples):
    """[n] -> [frames, 128]: what torchaudio's kaldi.fbank takes the logarithm of, called as the feature extractor of AST calls it."""
    frames = torch.from_numpy(samples).unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    frames = (frames - 0.97 * torch.cat([frames[:, :1], frames[:, :-1]], 1)) * torch.hann_window(400, periodic=False)
    return torch.fft.rfft(frames, 512).abs() ** 2 @ BANK.T


def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(1), rate, RATE)


def taken_for(names, table):
    """Rows of genres.py's table for the sounds of these names, and what its columns are called."""
    with safe_open(table, "np") as file:
        rows = dict(zip(json.loads(file.metadata()["songs"]), file.get_tensor("targets")))
        genres = json.loads(file.metadata()["columns"])
    missing = [name for name in names if name not in rows]
    if missing:
        raise SystemExit(f"{table} has nothing of {len(missing)} sounds, such as {missing[0]}: make it of all these pools, without --sorted")
    return np.array([rows[name] for name in names]), genres


class Teacher:
    """What was heard, standardised: `whole` [sounds, 200] and `columns` [sounds, 32, 64], of sounds of one unit and of four; `genres` [sounds, n]."""

    def __init__(self, pools, genres):
        self.sounds, whole, columns, names, self.of_kind = [], [], [], [], {1: [], 4: []}  # sounds by pool: file and units
        for pool in pools:
            table, sounds, first = dict(np.load(pool / "columns.npz")), [], len(names)
            for song, end, count in zip(table["songs"], np.cumsum(table["units"]), table["units"]):
                take = slice(end - count, end - count + (4 if count >= 4 else 1))
                sounds.append((pool / "genres_stems" / song / "other.wav", take.stop - take.start))
                names.append(str(song))
                whole.append(table["whole"][take].mean(0))
                part = table["columns"][take].reshape(-1, 200)
                columns.append(np.tile(part, (4 * COLUMNS // len(part), 1)))
            self.sounds.append(sounds)
            for kind, of_pools in self.of_kind.items():
                of_pools.append(np.array([first + i for i, (_, units) in enumerate(sounds) if units == kind]))
        self.of_kind = {kind: [sounds for sounds in of_pools if len(sounds)] for kind, of_pools in self.of_kind.items()}
        genres, self.names_of_genres = taken_for(names, genres) if genres else (np.zeros((len(names), 0), np.float32), [])
        self.genres = torch.from_numpy(genres)
        whole, columns = np.array(whole), np.array(columns)
        self.mean, self.deviation = whole.mean(0), whole.std(0) + 1e-6
        self.whole = torch.from_numpy(np.clip((whole - self.mean) / self.deviation, -5, 5))
        sample = columns[np.random.default_rng(0).permutation(len(columns))[:5000]].reshape(-1, 200).astype(np.float32)
        centre = sample.mean(0)
        variances, axes = np.linalg.eigh(np.cov((sample - centre).T))
        axes = axes[:, ::-1][:, :COMPONENTS] * math.sqrt(COMPONENTS / variances[-COMPONENTS:].sum())  # variance 1 in the mean
        self.columns = torch.from_numpy(np.stack([((rows - centre) @ axes).astype(np.float16) for rows in columns]))


def spectra(pool, sounds):
    """Logarithms of the mel powers of all units of the sounds, at a peak of 1, [units, 256, 128], and where each sound begins."""
    begins = np.cumsum([0] + [units for _, units in sounds])
    path, shape = pool / "spectra.npy", (int(begins[-1]), FRAMES, BINS)
    if not path.exists() or path.stat().st_mtime < (pool / "columns.npz").stat().st_mtime or np.load(path, mmap_mode="r").shape != shape:
        begun = path.with_suffix(".part")
        table = np.lib.format.open_memmap(begun, "w+", np.float16, shape)
        for (sound, units), begin in zip(sounds, begins):
            samples = units_of(sound)[:units].reshape(-1)
            samples = np.concatenate([samples, samples[:240]]) / max(np.abs(samples).max(), 1e-3)
            table[begin : begin + units] = powers(samples).clamp_min(FLOOR).log().numpy().reshape(-1, FRAMES, BINS)
        table.flush()
        begun.rename(path)
    return np.load(path, mmap_mode="r"), begins


class Student(torch.nn.Module):
    """An AST with heads for the whole and for columns; only the patches asked for are computed."""

    def __init__(self, folder, genres):
        super().__init__()
        config = json.loads((folder / "config.json").read_text())
        self.patch, self.strides = config["patch_size"], (config["frequency_stride"], config["time_stride"])
        if FRAMES % self.strides[1] or config["max_length"] != 4 * FRAMES or config["num_mel_bins"] != BINS:
            raise SystemExit(f"{folder}: a model of 1,024 frames and 128 mel bins with a time stride that divides 256 is needed")
        self.grid = [(length - self.patch) // stride + 1 for length, stride in zip((BINS, 4 * FRAMES), self.strides)]
        self.layers, self.heads, self.width = config["num_hidden_layers"], config["num_attention_heads"], config["hidden_size"]
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.rest = {name: tensor for name, tensor in weights.items() if not name.startswith(BODY)}
        self.body = {name: torch.nn.Parameter(tensor) for name, tensor in weights.items() if name.startswith(BODY)}
        self.whole, self.columns = torch.nn.Linear(self.width, 200), torch.nn.Linear(self.width, COMPONENTS)
        self.genres = torch.nn.Linear(self.width, genres) if genres else None
        for number, parameter in enumerate(self.body.values()):
            self.register_parameter(f"body{number}", parameter)

    def linear(self, x, name):
        return F.linear(x, self.body[f"{BODY}{name}.weight"].flatten(1), self.body[f"{BODY}{name}.bias"])

    def norm(self, x, name):
        return F.layer_norm(x, (self.width,), self.body[f"{BODY}{name}.weight"], self.body[f"{BODY}{name}.bias"], 1e-12)

    def forward(self, patches, places):
        """Patches [n, k, bins x frames of one], their places in the grid [n, k] -> [n, 200], [n, k, 64], [n, genres] or None."""
        n, k = places.shape
        x = self.linear(patches, "embeddings.patch_embeddings.projection")
        place = self.body[f"{BODY}embeddings.position_embeddings"][0]
        tokens = [self.body[f"{BODY}embeddings.{name}_token"][0] for name in ("cls", "distillation")]
        x = torch.cat([(torch.cat(tokens) + place[:2]).expand(n, -1, -1), x + place[2:][places]], 1)
        for layer in (f"encoder.layer.{i}." for i in range(self.layers)):
            h = self.norm(x, layer + "layernorm_before")
            q, key, v = (self.linear(h, f"{layer}attention.attention.{m}").view(n, k + 2, self.heads, -1).transpose(1, 2) for m in ("query", "key", "value"))
            x = x + self.linear(F.scaled_dot_product_attention(q, key, v).transpose(1, 2).flatten(2), layer + "attention.output.dense")
            h = F.gelu(self.linear(self.norm(x, layer + "layernorm_after"), layer + "intermediate.dense"))
            x = x + self.linear(h, layer + "output.dense")
        x = self.norm(x, "layernorm")
        token = x[:, :2].mean(1)
        return self.whole(token), self.columns(x[:, 2:]), self.genres(token) if self.genres else None


class Batches:
    def __init__(self, args, teacher, student, random):
        self.args, self.teacher, self.student, self.random = args, teacher, student, random
        self.spectra = []  # by sound: the units of its pool, and where it begins
        for pool, sounds in zip(args.pool, teacher.sounds):
            table, begins = spectra(pool, sounds)
            self.spectra += [(table, begin) for begin in begins[:-1]]
        files = [path for folder in args.noise for path in sorted(folder.glob("*")) if path.suffix in (".ogg", ".wav", ".flac")]
        # Fold 4 of ESC-50, the first number of its file names, is kept for judging.
        noises = [read(path)[:UNIT] for path in files if not path.name.startswith("4-")]
        self.noises = [powers(noise / math.sqrt((noise**2).mean())).numpy() for noise in noises if len(noise) >= 400 and (noise**2).mean() > 1e-8]
        if not self.noises:
            raise SystemExit(f"no .ogg, .wav or .flac with sound in {', '.join(map(str, args.noise))}")
        self.settings = json.loads((args.init / "preprocessor_config.json").read_text())

    def heard(self, sounds, units, firsts):
        """What the student hears of sounds from their `firsts` frame on: [n, 256 units, 128], features as AST's extractor has them."""
        random, places = self.random, [self.spectra[i] for i in sounds]
        x = np.exp(np.stack([table[begin : begin + units] for table, begin in places]).astype(np.float32)).reshape(len(sounds), -1, BINS)
        x = np.stack([np.roll(sound, -first, 0) for sound, first in zip(x, firsts)])
        for sound, loudness in zip(x, x.sum((1, 2)) / x.shape[1]):
            for _ in range(random.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
                noise = self.noises[random.integers(len(self.noises))]
                start = random.integers(len(sound) - len(noise) + 1)
                ratio = loudness / (noise.sum() / len(noise)) * 10 ** (-random.uniform(5, 28) / 10)
                sound[start : start + len(noise)] += np.float32(ratio) * noise
        x *= (10 ** random.uniform(-1.4, 0, (len(sounds), 1, 1))).astype(np.float32)
        x = np.log(np.maximum(x, FLOOR))
        for sound in x:
            if random.random() < 0.3:
                sound[:, random.integers(95, 128) :] = random.uniform(-15.9, -12)
        return torch.from_numpy((x - self.settings["mean"]) / (2 * self.settings["std"])).float()

    def next(self):
        random, student, kinds = self.random, self.student, self.teacher.of_kind
        units = 4 if not kinds[1] or (kinds[4] and random.random() < self.args.windows_share) else 1
        sounds = np.array([random.choice(kinds[units][random.integers(len(kinds[units]))]) for _ in range(self.args.batch)])
        # A window holds a unit four times over, so it may begin anywhere in it.
        firsts = random.integers(FRAMES, size=len(sounds)) if units == 1 else np.zeros(len(sounds), int)
        features = self.heard(sounds, units, firsts)
        size, (high, wide) = student.patch, student.strides
        rows, columns = student.grid
        there = FRAMES // wide if units == 1 else columns  # different columns of patches; the last ones of a unit reach into its repetition
        patches = torch.cat([features, features[:, : max(size - wide, 0)]], 1).unfold(1, size, wide).unfold(2, size, high)
        row, column = np.divmod(np.argsort(random.random((len(sounds), rows * there)), 1)[:, : self.args.patches], there)
        place = np.minimum(column + there * random.integers(4 // units, size=column.shape), columns - 1)
        column = place % there
        chosen = patches[torch.arange(len(sounds))[:, None], column, row].transpose(2, 3).flatten(2)
        frames = (place * wide + firsts[:, None], place * wide + size - 1 + firsts[:, None])
        begin, end = (torch.from_numpy(frame % (4 * FRAMES) // COLUMN)[..., None].expand(-1, -1, COMPONENTS) for frame in frames)
        labels = self.teacher.columns[sounds].float()
        labels = (labels.gather(1, begin) + labels.gather(1, end)) / 2
        return chosen, torch.from_numpy(row * columns + place), self.teacher.whole[sounds].float(), labels, self.teacher.genres[sounds]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("init", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--pool", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--genres", type=pathlib.Path, help="a table of genres.py that has every sound of the pools")
    parser.add_argument("--noise", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=32, help="sounds in a step")
    parser.add_argument("--patches", type=int, default=24, help="how many a sound keeps; 24 of the 32 different ones of 2.56 s, if they are 32 x 32")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=4e-4, help="highest learning rate; it falls to a hundredth by a cosine")
    parser.add_argument("--columns-weight", type=float, default=1.0, help="weight of the columns' error beside that of the whole; 0: without")
    parser.add_argument("--genres-weight", type=float, default=0.5, help="weight of what the genre lacks (Kullback-Leibler, nats), with --genres")
    parser.add_argument("--windows-share", type=float, default=0.3, help="share of the batches with sounds of four units")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    teacher = Teacher(args.pool, args.genres)
    student = Student(args.init, teacher.genres.shape[1])
    batches = Batches(args, teacher, student, np.random.default_rng(args.seed))
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
            patches, places, whole, columns, genres = coming.result()
            coming = ahead.submit(batches.next)
            said, said_of_columns, said_of_genres = student(patches, places)
            genre = F.kl_div(F.log_softmax(said_of_genres, 1), genres, reduction="batchmean") if args.genres else torch.zeros(())
            losses = F.mse_loss(said, whole), F.mse_loss(said_of_columns, columns), genre
            (losses[0] + args.columns_weight * losses[1] + args.genres_weight * losses[2]).backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % 100 == 0:
                print(f"{step}/{args.steps} whole {losses[0]:.3f} columns {losses[1]:.3f} {f'genre {losses[2]:.3f} ' * bool(args.genres)}{step * args.batch / (time.time() - begun):.0f} a second", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({name: p.detach().contiguous() for name, p in {**student.body, **student.rest}.items()}, args.out / "model.safetensors", {"format": "pt"})
    heads = {name: head.state_dict() for name, head in student.named_children()} | {"names_of_genres": teacher.names_of_genres}
    torch.save(heads | {"mean": torch.from_numpy(teacher.mean), "deviation": torch.from_numpy(teacher.deviation)}, args.out / "heads.pt")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(args.init / name, args.out)
    if (args.init / "split.json").exists():  # what trained INIT has trained OUT
        shutil.copy(args.init / "split.json", args.out)


main()
