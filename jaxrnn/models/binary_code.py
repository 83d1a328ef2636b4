"""A binary code for characters: each is a series of decisions, each between two halves of what is left of the vocabulary."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt32


class BinaryCode(NamedTuple):
    """The decisions of each character: a path through a tree whose leaves are the characters."""

    nodes: Int[np.ndarray, "vocab depth"]  # the node of each decision, root first, i32; 0 beyond the code's length
    bits: Int[np.ndarray, "vocab depth"]  # which half the character is in, i32
    lengths: Int[np.ndarray, " vocab"]  # number of decisions, i32
    words: UInt32[np.ndarray, " vocab"]  # the bits, the first one highest: x ^ y has as many leading zeros as x and y agree


def make_code(vocab_size: int) -> BinaryCode:
    """Make a balanced code.

    Neighbours in the vocabulary, which are often alike (a and à, A and B), share most decisions. A Huffman code has a quarter
    fewer decisions, but predicts Molière 0.005 nats worse (mixed with counts).
    """
    depth = max(1, (vocab_size - 1).bit_length())
    nodes, bits = (np.zeros((vocab_size, depth), np.int32) for _ in range(2))
    lengths, num_nodes, halves = np.zeros(vocab_size, np.int32), 0, [(0, vocab_size, 0)]
    while halves:
        start, end, d = halves.pop()
        lengths[start:end] = d
        if end - start < 2:
            continue
        middle = (start + end + 1) // 2
        nodes[start:end, d], bits[middle:end, d] = num_nodes, 1
        num_nodes += 1
        halves += [(start, middle, d + 1), (middle, end, d + 1)]
    words = (bits.astype(np.uint64) << (31 - np.arange(depth)).astype(np.uint64)[None]).sum(axis=1)
    return BinaryCode(nodes, bits, lengths, words.astype(np.uint32))
