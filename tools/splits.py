"""What trained a model, as messymash keeps it in split.json."""
import json
import re


def split_of(model):
    """The split that a model was trained with, where messymash looks for it: beside the model, or in its run."""
    run = model.resolve().parent
    places = [model / "split.json"] + [run / "split.json"] * (run / "config.toml").exists()
    return next((json.loads(place.read_text()) for place in places if place.exists()), None)


def recording(song):
    """As messymash tells recordings: excerpts of one GTZAN song are one, and so are versions of it from several folders."""
    return re.sub(r"^(.*/[a-zA-Z]+\.\d{5})\..*$", r"\1", re.sub(r"#\d+$", "", song))


def joined(splits):
    """The first split, with all that trained the models of the others."""
    first = splits[0]
    songs, folds = set(), set()
    for split in splits:
        before = split.get("before", {"songs": [], "folds": []})
        songs.update(split["train"], before["songs"])
        folds.update(split["train_folds"], before["folds"])
    heard = {recording(song) for song in songs}
    leaked = [song for song in first["validation"] if recording(song) in heard] + sorted(folds.intersection(first["validation_folds"]))
    if leaked:
        raise SystemExit(f"{len(leaked)} songs or noise folds that judge the first model trained another, such as {leaked[0]}")
    return {**first, "before": {"songs": sorted(songs - set(first["train"])), "folds": sorted(folds - set(first["train_folds"]))}}
