"""The formats of packed integers, written down again: tiles, and Golomb-Rice codes (cython_ext/packed.h, rice.h)."""

import struct

from tools.mailboxes import BLOCK, FEW, LANES, TILE

RICE_TILE, RICE_LEVELS, RICE_ZEROS = 128, 16, 64


def number(value: int) -> bytes:
    """Groups of 7 bits, the lowest first."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def stream(codes: list[int], bits: int) -> bytes:
    return sum(code << bits * j for j, code in enumerate(codes)).to_bytes((bits * len(codes) + 7) // 8, "little")


def folded(values: list[int]) -> list[int]:
    return [2 * v if v >= 0 else -2 * v - 1 for v in values]


def in_tiles(values: list[int]) -> bytes:
    """Tiles with a width and folded values; of full blocks eight streams by words."""
    out = b""
    for at in range(0, len(values), TILE):
        tile = values[at : at + TILE]
        codes = folded(tile)
        bits = max(codes).bit_length()
        if len(tile) <= FEW:
            out += b"".join(map(number, codes))
            continue
        if bits > 32:
            out += b"\x40" + struct.pack(f"<{len(tile)}q", *tile)
            continue
        out += bytes([bits])
        full = len(tile) // BLOCK * BLOCK
        for block in range(0, full, BLOCK):
            lanes = [stream(codes[block + lane : block + BLOCK : LANES], bits) for lane in range(LANES)]
            out += b"".join(lane[4 * word : 4 * word + 4] for word in range(bits) for lane in lanes)
        out += stream(codes[full:], bits)
    return out


def rice_tile(codes: list[int], k: int) -> bytes:
    """A tile with parameter k: planes of the lowest bits, levels of what is above, and numbers."""
    bits = [code >> p & 1 for p in range(k) for code in codes]
    alive = [code >> k for code in codes]
    for level in range(RICE_LEVELS):
        bits += [q > level for q in alive]
        alive = [q for q in alive if q > level]
    return bytes([k]) + stream(bits, 1) + b"".join(number(q - RICE_LEVELS) for q in alive)


def rice_size(codes: list[int], k: int) -> int:
    """Bytes of such a tile."""
    quotients = [code >> k for code in codes]
    bits = k * len(codes) + sum(min(q + 1, RICE_LEVELS) for q in quotients)
    return 1 + (bits + 7) // 8 + sum(len(number(q - RICE_LEVELS)) for q in quotients if q >= RICE_LEVELS)


def rice_parameter(codes: list[int]) -> int:
    """The best: by theory where no code is above all levels, or else by trying."""
    k = next(k for k in range(64) if sum((code >> k) + 1 >> 1 for code in codes) <= len(codes))
    if max(codes) >> k < RICE_LEVELS:
        return k
    return min(range(64), key=lambda k: rice_size(codes, k))


def in_rice(values: list[int]) -> bytes:
    """A header and Golomb-Rice codes, unless tiles are not longer."""
    tiles, codes, out = in_tiles(values), folded(values), b""
    if len(values) <= FEW:
        return tiles
    for at in range(0, len(codes), RICE_TILE):
        tile = codes[at : at + RICE_TILE]
        out += rice_tile(tile, rice_parameter(tile)) if any(tile) else bytes([RICE_ZEROS])
    out = bytes([128 + min(max(codes).bit_length(), 63)]) + number(len(out)) + out
    return out if len(out) < len(tiles) else tiles
