"""The words of the field as types: aliases, so that a signature can be read aloud.

Axis names used in every signature: `time`, `streams`, `vocab`, `hidden`. `*streams` stands for no axis at all (ONE stream,
which is the fast case) or for one axis of parallel streams.
"""

from typing import TypeAlias

from jaxtyping import Array, Float, Int, Key, PyTree

Ids: TypeAlias = Int[Array, "*streams"]  # one character of every stream, i32
Inputs: TypeAlias = Int[Array, "*streams"] | Float[Array, "*streams features"]  # what a cell reads: ids, or vectors
Block: TypeAlias = Int[Array, " length *streams"]  # the characters that one update reads
Stream: TypeAlias = Int[Array, " time *streams"]  # a whole text
Logits: TypeAlias = Float[Array, "*streams vocab"]
Losses: TypeAlias = Float[Array, " length"]  # nats per character, mean over the streams
RandomKey: TypeAlias = Key[Array, ""]

Params: TypeAlias = PyTree[Float[Array, "..."]]
Carry: TypeAlias = PyTree[Float[Array, "..."]]  # each array is [*streams, ...]
Memory: TypeAlias = PyTree[Array]  # whatever a rule carries from one update to the next; () for none
