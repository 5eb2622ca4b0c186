# SPDX-License-Identifier: Apache-2.0
"""``.tflite`` files with variables that a second subgraph sets, as in streaming networks."""

import dataclasses
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from single_operators import Item, Random, Step, pack_model, write_network
from test_rewrites import concatenate, conv, depthwise, indices, like

VALID = schema.Padding.VALID


@dataclasses.dataclass(eq=False)
class Variable:
    """A variable: its handle in the network, and its initial values."""

    name: str
    handle: Item
    start: Item


class StatefulNetwork:
    """A network with variables while it is made."""

    def __init__(self) -> None:
        options = schema.CallOnceOptionsT(initSubgraphIndex=1)
        self.steps: list[Step] = [("CALL_ONCE", [], [], options)]
        self.variables: list[Variable] = []

    def variable(self, like_item: Item, lines: int, values: np.ndarray | None = None) -> Variable:
        """A variable of some lines of a tensor, which starts with its zero point or with values."""
        shape = (1, lines, *like_item.shape[2:])
        if values is None:
            values = np.full(shape, like_item.zero_point, np.int8)
        name = f"stream_{len(self.variables)}/states"
        step, handle = _handle(name)
        self.steps.append(step)
        start = Item(shape, like_item.scale, like_item.zero_point, values)
        self.variables.append(Variable(name, handle, start))
        return self.variables[-1]

    def read(self, variable: Variable) -> Item:
        """The content of a variable."""
        content = like(variable.start)
        self.steps.append(("READ_VARIABLE", [variable.handle], [content], None))
        return content

    def assign(self, variable: Variable, content: Item) -> None:
        """A new content."""
        self.steps.append(("ASSIGN_VARIABLE", [variable.handle, content], [], None))

    def add(self, pair: tuple[Step, Item]) -> Item:
        """The output of a step that is added."""
        step, output = pair
        self.steps.append(step)
        return output

    def write(self, *ends: Item) -> bytes:
        """The file, with the subgraph that sets the variables."""
        model = _unpacked(write_network(self.steps, ends))
        initial: list[Step] = []
        for variable in self.variables:
            step, handle = _handle(variable.name)
            initial += [step, ("ASSIGN_VARIABLE", [handle, variable.start], [], None)]
        once = _unpacked(write_network(initial, initial[0][2]))
        (graph,) = once.subgraphs
        graph.outputs = []
        for op in graph.operators:
            op.opcodeIndex += len(model.operatorCodes)
        for tensor in graph.tensors:
            tensor.buffer += len(model.buffers)
        model.operatorCodes += once.operatorCodes
        model.buffers += once.buffers
        model.subgraphs.append(graph)
        return pack_model(model)


def _unpacked(tflite: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))


def _handle(name: str) -> tuple[Step, Item]:
    options = schema.VarHandleOptionsT(container="", sharedName=name)
    handle = Item((), dtype="resource")
    return ("VAR_HANDLE", [], [handle], options), handle


def tail(source: Item, lines: int) -> tuple[Step, Item]:
    """The last lines of a tensor."""
    options = schema.StridedSliceOptionsT(beginMask=0b1101, endMask=0b1111)
    output = like(source, (1, lines, *source.shape[2:]))
    numbers = [indices(0, -lines, 0, 0), indices(0, 0, 0, 0), indices(1, 1, 1, 1)]
    return ("STRIDED_SLICE", [source, *numbers], [output], options), output


def add(first: Item, second: Item) -> tuple[Step, Item]:
    """A sum with the scale of the first tensor."""
    output = like(first)
    return ("ADD", [first, second], [output], schema.AddOptionsT()), output


def delayed(network: StatefulNetwork, rng: Random, source: Item) -> Item:
    """Earlier lines and the new ones, in one of the two ways in which converters write them."""
    lines = int(rng.integers(1, 6))
    new = source.shape[1]
    if rng.random() < 0.5:  # the variable holds the lines before the new ones
        variable = network.variable(source, lines)
        joint = network.add(concatenate([network.read(variable), source], axis=1))
        network.assign(variable, network.add(tail(joint, lines)))
        return joint
    variable = network.variable(source, lines + new)
    old = network.add(tail(network.read(variable), lines))
    joint = network.add(concatenate([old, source], axis=1))
    network.assign(variable, joint)
    return joint


def random_stateful(seed: int) -> bytes:
    """A network of some streaming layers, of which a few keep their variables as they are."""
    rng = np.random.default_rng(seed)
    network = StatefulNetwork()
    channels = int(rng.integers(1, 9))
    item = Item((1, int(rng.integers(1, 4)), 1, channels), 0.05, -4)
    for _ in range(int(rng.integers(1, 5))):
        kind = int(rng.integers(0, 4))
        if kind == 0:
            values = rng.integers(-128, 128, item.shape).astype(np.int8)
            variable = network.variable(item, item.shape[1], values)
            item = network.add(add(item, network.read(variable)))
            network.assign(variable, item)
            if rng.random() < 0.5:  # reads what it has assigned
                item = network.add(add(item, network.read(variable)))
        joint = delayed(network, rng, item) if kind > 1 else item
        item = network.add(depthwise(joint, window=1))
        item = network.add(conv(item, int(rng.integers(1, 9)), rng=rng))
    return network.write(network.add(depthwise(delayed(network, rng, item), window=1)))
