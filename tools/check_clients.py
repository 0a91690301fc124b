"""huggingface_hub, gradio_client and the blocks of docs/serving.md against a running service: check_clients.py URL."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="0", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False")

from gradio_client import Client, handle_file  # noqa: E402
from huggingface_hub import InferenceClient  # noqa: E402

import book  # noqa: E402
from book import ROOT  # noqa: E402

URL = sys.argv[1]
SOUND = ROOT / "samples" / "rock.flac"


def refused(what, *needles):
    """What a person sees of a refusal."""
    try:
        what()
    except Exception as error:  # each client has its own
        text = str(error)
        missing = [needle for needle in needles if needle not in text]
        assert not missing, (missing, text)
    else:
        raise AssertionError(f"not refused: {needles}")


def hugging_face():
    for client in (InferenceClient(model=f"{URL}/"), InferenceClient(model=f"{URL}/predict"), InferenceClient(base_url=URL)):
        of_path = client.audio_classification(str(SOUND))
        assert [p.label for p in of_path][0] == "rock" and len(of_path) == 5, of_path
        assert client.audio_classification(SOUND.read_bytes()) == of_path
        assert client.audio_classification(str(SOUND), top_k=2) == of_path[:2]
    sigmoid = client.audio_classification(str(SOUND), function_to_apply="sigmoid", top_k=100)
    assert len(sigmoid) == 10 and sum(p.score for p in sigmoid) != 1.0
    # A name can lie: what is in the file counts.
    with tempfile.NamedTemporaryFile(suffix=".mp3") as lie:
        lie.write(SOUND.read_bytes())
        lie.flush()
        assert client.audio_classification(lie.name) == of_path
    refused(lambda: client.audio_classification(b"\x89PNG\r\n\x1a\n"), "415", "This is a PNG image")
    refused(lambda: client.audio_classification(b"", top_k=1), "422", "empty")
    print("huggingface_hub: as expected")


def gradio():
    client = Client(f"{URL}/", verbose=False)
    assert "/predict" in str(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    answer = client.predict(handle_file(str(SOUND)), api_name="/predict")
    assert answer["label"] == "rock" and len(answer["confidences"]) == 10, answer
    assert set(answer["confidences"][0]) == {"label", "confidence"}
    assert client.predict(audio_path=handle_file(str(SOUND)), api_name="/predict") == answer
    # Several calls of one session at once.
    jobs = [client.submit(handle_file(str(SOUND)), api_name="/predict") for _ in range(4)]
    assert all(job.result(timeout=60) == answer for job in jobs)
    with tempfile.NamedTemporaryFile(suffix=".wav") as text:
        text.write(b"no sound at all")
        text.flush()
        refused(lambda: client.predict(handle_file(text.name), api_name="/predict"), "This is a text file")
    print("gradio_client: as expected")


def documented_lines():
    """Blocks of the page that need the clients: lines of shell one by one, programs whole, where npm put its packages."""
    commands = []
    for block in book.blocks(ROOT / "docs/serving.md"):
        text = block.text.replace(book.SERVICE, URL)
        if block.where != "clients":
            continue
        if block.language == "sh":
            lines = text.replace("curl ", "curl --fail-with-body ").strip().splitlines()
            commands += [["bash", "-eo", "pipefail", "-c", line] for line in lines]
        else:
            python, js = [sys.executable, "-c"], ["node", "--input-type=module", "-e"]
            commands.append([*{"python": python, "js": js}[block.language], text])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "samples").symlink_to(ROOT / "samples")
        (folder / "song.mp3").symlink_to(ROOT / "crates/messymash/tests/golden/audio/tone.mp3")
        (folder / "node_modules").symlink_to(ROOT / "target/clients/node_modules")
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            if "gradio_api" in command[-1]:
                assert done.stdout.startswith("event: complete\n") and '"rock"' in done.stdout, done.stdout
        assert (folder / "window.png").read_bytes().startswith(b"\x89PNG")
    assert len(commands) >= 12
    print(f"docs/serving.md: {len(commands)} lines and programs ran")


hugging_face()
gradio()
documented_lines()
