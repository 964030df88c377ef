"""Upload of model folders to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from encloze.errors import EndpointError


def upload_folder(
    folder: Path, repo_id: str, *, token: str | None, private: bool | None, message: str, endpoint: str | None
) -> str:
    """Upload a model folder in one commit and return the URL of the commit. A missing repository is created."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EndpointError(
            f"{repo_id} could not be uploaded to {api.endpoint}: {reason}. Check the name (user/name), the token "
            "(hf auth login) and the connection"
        ) from error
    return str(commit.commit_url)
