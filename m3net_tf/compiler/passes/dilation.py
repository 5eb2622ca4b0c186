# SPDX-License-Identifier: Apache-2.0
"""A convolution between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND becomes one with dilation.

The converter writes dilated convolutions of an unknown batch size in this form; convolutions of
sequences have a reshape on either side.
"""

import dataclasses

from m3net_tf.tflite.graph import Graph, Operation, Tensor

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_RESHAPES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
_VALID = 1  # schema.Padding


@dataclasses.dataclass(frozen=True)
class _Chain:
    """The operators of a dilated convolution, with reshapes between them or not."""

    spread: Operation
    before: list[Operation]
    convolution: Operation
    after: list[Operation]
    gather: Operation


def fuse_dilation(graph: Graph) -> int:
    """Fuse each such chain that nothing else reads."""
    count = 0
    for op in list(graph.operations):
        chain = _chain(graph, op) if op.kind == "SPACE_TO_BATCH_ND" else None
        window = _window(chain) if chain is not None else None
        if chain is None or window is None:
            continue
        _fuse(graph, chain, window)
        count += 1
    return count


def _chain(graph: Graph, spread: Operation) -> _Chain | None:
    before, convolution = _follow(graph, spread)
    if convolution is None or convolution.kind not in _CONVOLUTIONS:
        return None
    after, gather = _follow(graph, convolution)
    if gather is None or gather.kind != "BATCH_TO_SPACE_ND" or len(before) != len(after):
        return None
    return _Chain(spread, before, convolution, after, gather)


def _follow(graph: Graph, op: Operation) -> tuple[list[Operation], Operation | None]:
    """The reshape after an operator, if there is one, and the only reader after it."""
    reshapes: list[Operation] = []
    while True:
        readers = graph.readers(op.output)
        if len(readers) != 1 or op.output in graph.outputs or readers[0].inputs[0] is not op.output:
            return reshapes, None
        (op,) = readers
        if op.kind not in _RESHAPES or reshapes:
            return reshapes, op
        reshapes.append(op)


def _window(chain: _Chain) -> dict[str, object] | None:
    """Options of the convolution with dilation; None if it is another computation."""
    spread, convolution, gather = chain.spread, chain.convolution, chain.gather
    source = spread.input(0)
    output = gather.output
    options = convolution.options
    block = spread.constant(1).reshape(-1)
    pads = spread.constant(2).reshape(-1, 2)
    crops = gather.constant(2).reshape(-1, 2)
    axes = _axes(chain, len(block))
    fits = (
        axes is not None
        and options["padding"] == _VALID
        and options["strideH"] == options["strideW"] == 1
        and gather.constant(1).reshape(-1).tolist() == block.tolist()
        and len(source.shape) == len(output.shape) == (3 if chain.before else 4)
        and source.same_quantization(spread.output)
        and output.same_quantization(gather.input(0))
    )
    if not fits or axes is None:
        return None
    window = {1: convolution.input(1).shape[1], 2: convolution.input(1).shape[2]}
    dilation = {1: options["dilationHFactor"], 2: options["dilationWFactor"]}
    start = {1: 0, 2: 0}
    for place, axis in enumerate(axes):
        dilation[axis] *= int(block[place])
        start[axis] = int(pads[place][0] - crops[place][0])
        size = source.shape[1 + place] + int(pads[place].sum() - crops[place].sum())
        reach = (window[axis] - 1) * dilation[axis]
        if start[axis] < 0 or output.shape[1 + place] != size - reach:
            return None
    if any(window[axis] != 1 and axis not in axes for axis in (1, 2)):
        return None
    return {
        **options,
        "dilationHFactor": dilation[1],
        "dilationWFactor": dilation[2],
        "explicit_padding": (start[1], start[2]),
    }


def _axes(chain: _Chain, count: int) -> tuple[int, ...] | None:
    """Which of the image's axes, 1 and 2, are spread."""
    if not chain.before:
        return (1, 2)[:count] if count <= 2 else None
    batch, *sizes = chain.spread.output.shape
    if count != 1 or len(sizes) != 2 or sizes[0] == 1:
        return None
    images = {(batch, 1, *sizes): (2,), (batch, sizes[0], 1, sizes[1]): (1,)}
    return images.get(chain.before[0].output.shape)


def _fuse(graph: Graph, chain: _Chain, options: dict[str, object]) -> None:
    convolution = chain.convolution
    source = chain.spread.input(0)
    output = chain.gather.output
    place = graph.operations.index(convolution)
    for op in (chain.spread, *chain.before, convolution, *chain.after, chain.gather):
        graph.operations.remove(op)
    place -= 1 + len(chain.before)
    steps = [convolution]
    if chain.before:
        at = 1 if chain.before[0].output.shape[1] == 1 else 2
        image, result = _as_image(source, at), _as_image(output, at)
        steps = [_reshape(source, image), convolution, _reshape(result, output)]
        source, output = image, result
    convolution.inputs[0], convolution.outputs = source, [output]
    convolution.options = options
    graph.operations[place:place] = steps


def _as_image(tensor: Tensor, axis: int) -> Tensor:
    shape = (*tensor.shape[:axis], 1, *tensor.shape[axis:])
    return dataclasses.replace(tensor, name=f"{tensor.name} (image)", shape=shape, unknown=())


def _reshape(source: Tensor, output: Tensor) -> Operation:
    return Operation("RESHAPE", [source], [output], {})
