"""Makes one AES-GCM ciphertext that opens under two keys ("invisible salamanders").

GHASH is a polynomial in the hash key H = AES(key, 0), and the tag is that polynomial plus
AES(key, counter 0). Two keys give two polynomials in the same ciphertext blocks; one block left
free is one linear equation over GF(2^128) for "both tags are equal", and it nearly always has a
solution.

Source: NIST SP 800-38D, 6.3 and 6.4; Dodis, Grubbs, Ristenpart, Woodage, CRYPTO 2018.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = 16
_REDUCTION = 0xE1 << 120
_ONE = 1 << 127


def _times(left, right):
    """Multiply in GF(2^128); the first bit of a block is the lowest coefficient."""
    product = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (_REDUCTION if right & 1 else 0)
    return product


def _power(base, exponent):
    result = _ONE
    while exponent:
        if exponent & 1:
            result = _times(result, base)
        base, exponent = _times(base, base), exponent >> 1
    return result


def _inverse(value):
    return _power(value, (1 << 128) - 2)


def _aes(key, block):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(block), "big")


def _blocks(data):
    padded = data + bytes(-len(data) % _BLOCK)
    return [int.from_bytes(padded[at : at + 16], "big") for at in range(0, len(padded), 16)]


def _tag(key, nonce, blocks):
    """Give the tag over blocks that hold everything: associated data, ciphertext, lengths."""
    hash_key, value = _aes(key, bytes(16)), 0
    for block in blocks:
        value = _times(value ^ block, hash_key)
    return value ^ _aes(key, nonce + b"\0\0\0\1")


def collide(first, second, ciphertext, associated):
    """Give ciphertext and tag that verify under both (key, nonce) pairs.

    The last block of `ciphertext` is replaced by what makes the tags equal.
    """
    lengths = (len(associated) * 8).to_bytes(8, "big") + (len(ciphertext) * 8).to_bytes(8, "big")
    fixed = ciphertext[:-_BLOCK]
    blocks = [*_blocks(associated), *_blocks(fixed), 0, *_blocks(lengths)]
    difference = _tag(*first, blocks) ^ _tag(*second, blocks)
    # The free block is the last but one: it counts with the square of either hash key.
    factor = _power(_aes(first[0], bytes(16)), 2) ^ _power(_aes(second[0], bytes(16)), 2)
    free = _times(difference, _inverse(factor))
    blocks[-2] = free
    tag = _tag(*first, blocks)
    assert tag == _tag(*second, blocks)
    return fixed + free.to_bytes(16, "big") + tag.to_bytes(16, "big")
