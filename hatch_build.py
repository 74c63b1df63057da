"""Gives the package the addresses of the repository that releases it, while it is built: `PROJECT_URL=https://... make dist`.

No address stands in the sources, for no public one is known to them; a fork's packages name the fork. The release workflow
sets the variable. Without it the package has no address, and a wheel that is made from an sdist has the sdist's.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProjectUrls(MetadataHookInterface):
    """Sets `project.urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the addresses, in the form that GitHub, GitLab and Gitea share."""
        metadata["urls"] = {}
        if url := os.environ.get("PROJECT_URL", "").rstrip("/"):
            metadata["urls"] = {"Source": url, "Issues": f"{url}/issues"}
