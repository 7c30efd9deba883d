"""Shuffled sequences that keep the counts of dinucleotides."""

import numpy as np

_SYMBOLS = 5  # A, C, G, T and unknown


def shuffled_dinucleotides(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle sequences; first base, last base and the counts of dinucleotides are kept.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, uint8, shape (N, L)

    Notes
    -----
    The Euler-path shuffle of Altschul & Erickson 1985 (Mol. Biol. Evol. 2:526). For every base except the last one, an
    edge is chosen as the final one such that these edges lead to the last base; the other edges are followed in random
    order.
    """
    return np.stack([_shuffled(row, rng) for row in codes]) if len(codes) else codes.copy()


def _shuffled(row, rng):
    edges = [row[1:][row[:-1] == symbol] for symbol in range(_SYMBOLS)]
    last, present = int(row[-1]), [s for s in range(_SYMBOLS) if len(edges[s])]
    while True:
        final = {s: int(rng.integers(len(edges[s]))) for s in present if s != last}
        if all(_reaches(s, last, edges, final) for s in final):
            break
    order = []
    for symbol in range(_SYMBOLS):
        own = edges[symbol]
        if symbol in final:
            rest = np.delete(own, final[symbol])
            own = np.append(rng.permutation(rest), own[final[symbol]])
        else:
            own = rng.permutation(own)
        order.append(iter(own.tolist()))
    result = np.empty_like(row)
    at = result[0] = row[0]
    for i in range(1, len(row)):
        at = result[i] = next(order[at])
    return result


def _reaches(symbol, last, edges, final):
    for _ in range(_SYMBOLS):
        if symbol == last:
            return True
        if symbol not in final:
            return False
        symbol = int(edges[symbol][final[symbol]])
    return symbol == last
