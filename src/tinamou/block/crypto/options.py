"""What users may say about LUKS encryption, and how a LUKS file is known: all that is needed before a disk is encrypted."""

from __future__ import annotations

from .. import options as opt
from ..options import Options

MAGIC = b"LUKS\xba\xbe"


class CreateOptions(Options):
    """How to encrypt. Texts that are no algorithm raise `BlockError` in `Algorithms.chosen`, after `Formatting` was printed."""

    key_secret = opt.text("ID of the secret that provides the keyslot passphrase", key="key-secret")
    cipher_alg = opt.text("Name of encryption cipher algorithm", key="cipher-alg")
    cipher_mode = opt.text("Name of encryption cipher mode", key="cipher-mode")
    ivgen_alg = opt.text("Name of IV generator algorithm", key="ivgen-alg")
    ivgen_hash_alg = opt.text("Name of IV generator hash algorithm", key="ivgen-hash-alg")
    hash_alg = opt.text("Name of encryption hash algorithm", key="hash-alg")
    iter_time = opt.number("Time to spend in PBKDF in milliseconds", key="iter-time")


class AmendOptions(Options):
    """Changes of key slots."""

    state = opt.text("Select new state of affected keyslots (active/inactive)")
    keyslot = opt.number("Select a single keyslot to modify explicitly")
    old_secret = opt.text("Select all keyslots that match this password", key="old-secret")
    new_secret = opt.text("New secret to set in the matching keyslots. Empty string to erase", key="new-secret")
    iter_time = opt.number("Time to spend in PBKDF in milliseconds", key="iter-time")
