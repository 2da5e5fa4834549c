"""Apache Spark over the Parquet export answers every ready question like DuckDB over the recordings."""

import datetime
import json
import math

import pytest
from pyspark.sql import SparkSession

from inetprobe.commands.query.questions import questions
from tests.support import recorded, run_command


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    return [
        recorded.every_kind(folder / "kinds.arrows"),
        recorded.timed(folder / "timed.arrows", failing=7),
        recorded.called(folder / "called.arrows"),
    ]


@pytest.fixture(scope="module")
def spark(recordings, tmp_path_factory):
    lake = tmp_path_factory.mktemp("lake")
    for recording in recordings:
        done = run_command.run("export", recording, "--to", "parquet", "-o", f"{lake}/")
        assert done.returncode == 0, done.stderr
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2")
    session = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    session = session.getOrCreate()
    for table in ("traces", "calls", "recordings"):
        session.read.parquet(f"{lake}/{table}").createOrReplaceTempView(table)
    yield session
    session.stop()


@pytest.mark.parametrize("name", questions())
def test_spark_answers_as_duckdb_does(name, spark, recordings):
    asked = run_command.run("query", *recordings, "--ask", name, "--format", "json")
    assert asked.returncode == 0, asked.stderr
    expected = [json.loads(line) for line in asked.stdout.splitlines()]
    found = [row.asDict() for row in spark.sql(questions()[name].sql).collect()]
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.keys() == theirs.keys()
        for column, value in ours.items():
            assert _same(value, theirs[column]), (column, value, theirs[column])


def _same(ours, theirs):
    if isinstance(theirs, float):
        return math.isclose(ours, theirs)
    if isinstance(theirs, datetime.datetime):
        return datetime.datetime.fromisoformat(ours).timestamp() == theirs.timestamp()
    return ours == theirs
