"""Genres of the files below a folder, one row each, by Spark: spark-submit spark_tag.py SONGS PREDICTIONS"""

import sys
from functools import cache

import pandas as pd
from pyspark import TaskContext
from pyspark.sql import SparkSession

from messymash import Classifier, Error

SCHEMA = "path string, label string, score float, verdict string, reason string, seconds double, error_code string, error string"
KINDS = "*.{wav,mp3,flac,ogg,m4a,mp4,aif,aiff,caf,WAV,MP3,FLAC,OGG,M4A,MP4,AIF,AIFF,CAF}"
LARGEST = 1_000_000_000  # bytes; a row of Spark cannot hold more than 2 GiB


@cache
def classifier():
    """One for each Python process of an executor, however many tasks and batches that is given; its threads are a task's cores."""
    return Classifier(num_threads=TaskContext.get().cpus())


def row(path, answer):
    if isinstance(answer, Exception):
        return {"path": path, "error_code": answer.code if isinstance(answer, Error) else "io", "error": str(answer)}
    best = answer["predictions"][0]
    return {"path": path, **best, **{key: answer.get(key) for key in ("verdict", "reason", "seconds")}}


def hear(batches):
    """For mapInPandas: frames of path and content to frames of SCHEMA. A file that cannot be heard is a row with its error."""
    columns = [column.split()[0] for column in SCHEMA.split(", ")]
    for batch in batches:
        answers = classifier()(list(batch["content"]), timeline=True, on_error="return")
        rows = [row(path, answer) for path, answer in zip(batch["path"], answers)]
        yield pd.DataFrame(rows, columns=columns, dtype=object)  # PySpark 4.3 stumbles over the strings of pandas 3


def main(songs, predictions):
    spark = SparkSession.builder.appName("messymash").getOrCreate()
    # Rows that are in memory at once, for each task: left at 10,000, that many songs would be.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 16)
    # As a module that tasks import, it stays loaded between them, and the classifier with it; a function of __main__ does not.
    spark.sparkContext.addPyFile(__file__)
    from spark_tag import SCHEMA, hear

    found = spark.read.format("binaryFile").option("recursiveFileLookup", True).option("pathGlobFilter", KINDS).load(songs)
    heard = found.where(f"length <= {LARGEST}").select("path", "content").mapInPandas(hear, SCHEMA)
    error = f"concat('has ', length, ' bytes; at most {LARGEST} are read')"
    large = found.where(f"length > {LARGEST}").selectExpr("path", "'too_long' error_code", f"{error} error")  # is not read
    heard.unionByName(large, allowMissingColumns=True).write.parquet(predictions)


if __name__ == "__main__":
    main(*sys.argv[1:])
