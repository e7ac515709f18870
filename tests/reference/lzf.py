"""LZF, byte by byte."""


def unpack_lzf(packed: bytes) -> bytes:
    out = bytearray()
    rest = iter(packed)
    for control in rest:
        if control < 32:
            out += bytes(next(rest) for _ in range(control + 1))
        else:
            length = control >> 5
            length += next(rest) if length == 7 else 0
            distance = ((control & 31) << 8) + next(rest) + 1
            for _ in range(length + 2):
                out.append(out[-distance])
    return bytes(out)
