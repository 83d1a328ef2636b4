"""Type aliases in the words of the field, so that signatures read like prose.

Axis names used in every signature: `time`, `streams`, `vocab`, `hidden`. ``*streams`` stands for no axis at all (ONE stream,
the fast case) or for one axis of parallel streams.
"""

from typing import TypeAlias

from jaxtyping import Array, Float, Int, Integer, Key, PyTree

Ids: TypeAlias = Int[Array, "*streams"]  # one character per stream, i32
Inputs: TypeAlias = Int[Array, "*streams"] | Float[Array, "*streams features"]  # input of a cell: ids or vectors
Block: TypeAlias = Int[Array, " length *streams"]  # characters of one update
InputBlock: TypeAlias = Block | Float[Array, " length *streams features"]  # the same, or vectors
Outputs: TypeAlias = PyTree[Array]  # of a model: logits, or whatever its loss takes
Targets: TypeAlias = PyTree[Array]  # of a loss: the next characters, or whatever it takes
Stream: TypeAlias = Integer[Array, " time *streams"]  # a whole text, in the smallest type that holds its ids
Logits: TypeAlias = Float[Array, "*streams vocab"]
Losses: TypeAlias = Float[Array, " length"]  # nats per character, averaged over streams
LossColumns: TypeAlias = Float[Array, "length ..."]  # the same, or a column for each model that reads along
RandomKey: TypeAlias = Key[Array, ""]

Params: TypeAlias = PyTree[Float[Array, "..."]]
# What the step of a model takes: weights, or for a mixture also counts.
ModelParams: TypeAlias = PyTree[Array]
Carry: TypeAlias = PyTree[Array]  # each array is [*streams, ...]; those of integers have no derivative
Memory: TypeAlias = PyTree[Array]  # what a rule carries between updates; () for none
