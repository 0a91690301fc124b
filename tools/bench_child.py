"""What bench_peers.py runs as processes of their own, so that their time and memory can be told from its own:

  launch FIGURES COMMAND ...        runs a command and writes to FIGURES when it started and ended (seconds), what
                                    processor time it took (seconds) and the most memory it held (KiB). A process counts
                                    the memory of who starts it until its own program runs, so a large one cannot
                                    measure a small one; this one is 9 MiB, which is the least that it can tell
  train MODEL BATCH THREADS         two training steps of torch
  pipeline MODEL FILE               what most people write to classify one file with transformers; prints the answer
  folder MODEL IR THREADS FILE ...  classifies files with OpenVINO like `messymash classify`: the whole of each, in
                                    windows; prints a line of JSON a file
"""

import os
import sys
import time

# Nothing else is imported out here: some of these programs are timed from their start, and one must be small.


def launch(figures, *command):
    start = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    end = time.monotonic()
    with open(figures, "w") as file:
        file.write(f"{start} {end} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


def train(model, batch, threads):
    import torch

    import bench_models

    torch.set_num_threads(int(threads))
    step = bench_models.training(model, bench_models.inputs(int(batch)))
    for _ in range(2):
        step()


def pipeline(model, file):
    import json

    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    classify = pipeline("audio-classification", model=model, dtype="float32")
    print(json.dumps({answer["label"]: answer["score"] for answer in classify(file, top_k=None)}))


def compile_openvino(file, shape, threads):
    """OpenVINO's model from a file, for inputs of one shape; in single precision what is not in int8."""
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    model.reshape(list(shape))
    options = {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(model, "CPU", options)


def folder(model, ir, threads, *files):
    import json

    import numpy as np
    import soundfile
    import soxr
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor

    torch.set_num_threads(int(threads))
    extractor = ASTFeatureExtractor.from_pretrained(model)
    labels = ASTConfig.from_pretrained(model).id2label
    network = compile_openvino(ir, [1, extractor.max_length, extractor.num_mel_bins], int(threads))
    rate = extractor.sampling_rate
    # 1024 frames of 25 ms every 10 ms; the windows touch, and the last one ends with the sound.
    window, hop, least_new = round(10.255 * rate), round(10.24 * rate), rate // 2
    for file in files:
        samples, file_rate = soundfile.read(file, dtype="float32", always_2d=True)
        samples = soxr.resample(samples.mean(axis=1), file_rate, rate)
        if len(samples) < window:
            samples = np.resize(samples, window)
        starts = list(range(0, len(samples) - window + 1, hop))
        if len(samples) >= starts[-1] + window + least_new:
            starts.append(len(samples) - window)
        scores = []
        for start in starts:
            given = extractor(samples[start:start + window], sampling_rate=rate, return_tensors="np")["input_values"]
            logits = network(given)[0][0]
            likely = np.exp(logits - logits.max())
            scores.append(likely / likely.sum())
        mean = np.mean(scores, axis=0)
        print(json.dumps({"file": file, "scores": {labels[i]: float(score) for i, score in enumerate(mean)}}))


if __name__ == "__main__":
    programs = {"launch": launch, "train": train, "pipeline": pipeline, "folder": folder}
    programs[sys.argv[1]](*sys.argv[2:])
