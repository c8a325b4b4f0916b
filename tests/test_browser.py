"""The report as a browser shows it: headless Chromium, no network, nothing in the console."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import regimen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("size", ["1280,2000", "400,2000"])
def test_the_report_opens_without_a_network(tmp_path: Path, size: str) -> None:
    record = regimen.run(
        {
            "task": {"name": "sorting", "train_rows": 64, "valid_rows": 8},
            "strategy": {"name": "sft", "tuning": "full"},
            "budget": {"steps": 8},
            "log": {"every": 2},
        }
    )
    page = (record.folder / "report.html").resolve()
    picture = tmp_path / "report.png"
    shown = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={size}",
            f"--screenshot={picture}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    assert shown.stdout.count("<svg") >= 3
    assert "held-out" in shown.stdout
    assert picture.stat().st_size > 20_000  # a blank page is smaller
    assert not [
        word for word in ("http://", "https://") if f'src="{word}' in shown.stdout or f'href="{word}' in shown.stdout
    ]
