"""Finds every sub-package under the names that pyproject.toml's package-dir gives to the top-level folders."""

import tomllib
from pathlib import Path

from setuptools import find_packages, setup

pyproject = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))
folders: dict[str, str] = pyproject["tool"]["setuptools"]["package-dir"]

setup(
    packages=[
        ".".join(filter(None, (package, sub_package)))
        for package, folder in folders.items()
        for sub_package in ("", *find_packages(folder))
    ]
)
