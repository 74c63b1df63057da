"""Deployment: unit, image, upgrades, rights, and the packages that users install."""
