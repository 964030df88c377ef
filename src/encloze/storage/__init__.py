"""Files and folders on disk: atomic writes, manifests, provenance, cache, model folders."""
