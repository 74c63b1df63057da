"""Tests in machines, images and registries of their own: `make deploy-check` runs them, as root."""
