"""Encrypted qcow2 images: where `block/crypto` meets this format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...node import BlockError

if TYPE_CHECKING:
    from . import Qcow2


def open_cipher(image: Qcow2, kind: str) -> Any:
    raise BlockError(f"Encryption format '{kind}' cannot be read without the module tinamou.block.crypto")


def create_encryption(image: Qcow2, options: Any) -> None:
    raise BlockError("Encrypted images cannot be created without the module tinamou.block.crypto")


def amend_encryption(image: Qcow2, options: Any, given: set[str], force: bool) -> None:
    raise BlockError("Changing the encryption needs the module tinamou.block.crypto")


def describe(image: Qcow2) -> dict[str, Any]:
    return {"format": {1: "aes", 2: "luks"}[image.header.crypt_method]}
