"""The same model behind FastAPI and transformers, as it is usually done: load_peer.py MODEL PORT."""

import io
import sys

import soundfile
import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from transformers import pipeline

classifier = pipeline("audio-classification", model=sys.argv[1], device="cpu")
app = FastAPI()


def classify(body: bytes):
    # The pipeline itself would start an ffmpeg for each request.
    sound, rate = soundfile.read(io.BytesIO(body), dtype="float32", always_2d=True)
    with torch.inference_mode():
        return classifier({"array": sound.mean(axis=1), "sampling_rate": rate}, top_k=5)


@app.get("/readyz")
def ready():
    return {"status": "ready"}


@app.post("/predict")
async def predict(request: Request):
    return await run_in_threadpool(classify, await request.body())


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
