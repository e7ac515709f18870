"""Numba kernel that unpacks LZF, the compression of PCD files."""

from pcseg.kernels import kernel


@kernel("u1[::1], u1[::1]")
def unpack_lzf(packed, out):
    """Unpacks LZF, from uint8 (bytes,) to uint8 (bytes,).

    Returns:
        Number of bytes written, or -1 if `packed` is damaged or does not fit `out`.

    Source: the format of liblzf. A control byte n below 32 is followed by n + 1 literals. Otherwise its top three bits
    are the length of a copy minus two (7 adds the next byte). The other bits and the next byte are its distance.
    """
    at = 0
    end = 0
    while at < len(packed):
        control = int(packed[at])
        at += 1
        if control < 32:
            length = control + 1
            if at + length > len(packed) or end + length > len(out):
                return -1
            for _ in range(length):
                out[end] = packed[at]
                at += 1
                end += 1
        else:
            length = control >> 5
            if length == 7:
                if at >= len(packed):
                    return -1
                length += int(packed[at])
                at += 1
            if at >= len(packed):
                return -1
            source = end - ((control & 31) << 8) - int(packed[at]) - 1
            at += 1
            length += 2
            if source < 0 or end + length > len(out):
                return -1
            for _ in range(length):
                out[end] = out[source]
                source += 1
                end += 1
    return end
