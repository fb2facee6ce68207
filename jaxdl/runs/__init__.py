"""Run folders: files, manifests, recorded results and restoring."""
