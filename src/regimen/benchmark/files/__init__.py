"""DeepOBS' tree of folders and JSON files: its names, writing one run, reading results in every layout."""

from regimen.benchmark.files.names import run_path
from regimen.benchmark.files.output import METRICS, Output
from regimen.benchmark.files.reading import read_output, read_results
from regimen.benchmark.files.results import Results, Setting
from regimen.benchmark.files.writing import write_output

__all__ = ["METRICS", "Output", "Results", "Setting", "read_output", "read_results", "run_path", "write_output"]
