"""Publishes a model's folder on the Hugging Face Hub: its own files, and nothing that names a folder here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from regimen.errors import Problem, Refused

TOKEN = "HF_TOKEN"
UPLOADING = "uploading"
_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt", ".md"})


def push(folder: Path, repo: str, *, private: bool, message: str, tell: Callable[[str], None]) -> str:
    """Makes the repository if it is not there, commits the files, and returns its address.

    Raises `Refused` without a token, without a network, and for what the Hub refuses.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    api = HfApi(token=token())
    try:
        tell("connecting")
        api.whoami()
        address = api.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        tell(UPLOADING)
        operations = [CommitOperationAdd(name, content) for name, content in published(folder)]
        api.create_commit(address.repo_id, operations, commit_message=message, repo_type="model")
    except HFValidationError as error:
        raise Refused(Problem(repo, f"is no name of a repository: {_first(error)}", "Give `owner/name`.")) from error
    except HfHubHTTPError as error:
        fix = f"Give {TOKEN} a token that may write there."
        raise Refused(Problem(repo, f"the Hub refuses it: {_first(error)}", fix)) from error
    except (OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        text = f"the Hub cannot be reached: {_first(error)}"
        raise Refused(Problem(repo, text, "Export the model, and push it from a machine with a network.")) from error
    return str(address)


def token() -> str:
    """The server's own. Raises `Refused` if it has none."""
    found = os.environ.get(TOKEN, "").strip()
    if not found:
        fix = "Set it to a token that may write, where the server is started; it is never kept."
        raise Refused(Problem(TOKEN, "is not set in the server's environment.", fix))
    return found


def published(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """The files that are published, by their names; links and what a model has no use for are left."""
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.is_symlink() or path.suffix not in _SUFFIXES:
            continue
        yield path.name, _without_folders(path) if path.name == "adapter_config.json" else str(path)


def _without_folders(path: Path) -> bytes:
    """An adapter's configuration with its base by name: a path would tell about this machine and help nobody."""
    body = json.loads(path.read_bytes())
    base = Path(str(body.get("base_model_name_or_path") or ""))
    if base.is_absolute() or str(base).startswith((".", "~")) or base.exists():
        body["base_model_name_or_path"] = base.name
    return json.dumps(body, indent=2, sort_keys=True).encode()


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
