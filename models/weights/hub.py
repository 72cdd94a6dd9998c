"""An exported folder to the Hugging Face Hub."""

import re
from pathlib import Path

from errors import RequestError, RunError


def check_repo(name: str) -> None:
    """Raises RequestError for what cannot be a repository's name."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) is None:
        raise RequestError(f"export.push={name}: expected OWNER/NAME, a repository of the Hub, such as ada/tiny-gpt.")


def push(folder: Path, name: str, *, private: bool) -> str:
    """Makes the repository if it is not there, uploads the folder's files; returns the commit's address.

    Raises:
        RunError: the Hub refused, or cannot be reached; the folder stays.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = HfApi()
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of nanolab"))
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        raise RunError(
            f"export.push={name}: not uploaded: {' '.join(str(error).split())[:200]}\n"
            f"The export is whole in {folder}. Log in with `hf auth login`, then: hf upload {name} {folder}"
        ) from error
