"""The README as a package index shows it, which knows no files beside it: links and pictures lead to the repository.

They do so once `Source` in [project.urls] names it; without, the README stays as it is, and an index shows no pictures.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ReadmeHook(MetadataHookInterface):
    """Fill in `project.readme`."""

    def update(self, metadata: dict) -> None:
        """Hatchling calls this with the table [project]."""
        text = Path(self.root, "README.md").read_text("utf-8")
        source = metadata.get("urls", {}).get("Source")
        if source:
            base = source.rstrip("/")
            text = re.sub(r"(!\[[^]]*\]\()(?![a-z]+:|#)", rf"\1{base}/raw/HEAD/", text)
            text = re.sub(r"(?<!!)(\[[^]]*\]\()(?![a-z]+:|#)", rf"\1{base}/blob/HEAD/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
