# SPDX-License-Identifier: Apache-2.0
"""Files that leave sizes open, with the sizes that LiteRT finds: TFLite Micro takes 1 for each."""

import copy

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from m3net_tf.tflite.names import operator_name

INTEGER = (schema.TensorType.INT32, schema.TensorType.INT64)
PAD_OPTIONS = schema.PadOptionsT()


def interpreter_of(tflite, values):
    """LiteRT after a run."""
    interpreter = Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter


def frozen(tflite, values):
    """The file with all shapes, and their arithmetic as constants, as LiteRT finds them."""
    interpreter = interpreter_of(tflite, values)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph = model.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):
        tensor.shape = list(interpreter.get_tensor(index).shape)
        tensor.shapeSignature = None
    for op in list(graph.operators):
        tensor = graph.tensors[op.outputs[0]]
        if tensor.type in INTEGER or operator_name(model.operatorCodes[op.opcodeIndex]) == "FILL":
            graph.operators.remove(op)
            model.buffers.append(schema.BufferT())
            content = interpreter.get_tensor(op.outputs[0]).tobytes()
            model.buffers[-1].data = np.frombuffer(content, np.uint8)
            tensor.buffer = len(model.buffers) - 1
    for op in list(graph.operators):
        if operator_name(model.operatorCodes[op.opcodeIndex]) == "SPACE_TO_BATCH_ND":
            _pad_before(model, op)
    used = {op.opcodeIndex for op in graph.operators}
    for index, code in enumerate(model.operatorCodes):
        if index not in used:  # TFLite Micro lacks some of them
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _pad_before(model, op):
    """A PAD of its own: TFLite Micro's SPACE_TO_BATCH_ND never sets what it pads with."""
    graph = model.subgraphs[0]
    source, _, pads = (graph.tensors[index] for index in op.inputs)
    amounts = np.asarray(model.buffers[pads.buffer].data, np.uint8).view(np.int32).reshape(-1, 2)
    whole = np.zeros((len(source.shape), 2), np.int32)
    whole[1 : 1 + len(amounts)] = amounts
    wide, where, none = (copy.copy(tensor) for tensor in (source, pads, pads))
    wide.shape = [int(size) for size in source.shape + whole.sum(axis=1)]
    for tensor, values in ((where, whole), (none, np.zeros_like(amounts))):
        tensor.shape = list(values.shape)
        tensor.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
    start = len(graph.tensors)
    graph.tensors += [wide, where, none]
    step = schema.OperatorT(
        inputs=[int(op.inputs[0]), start + 1], outputs=[start], opcodeIndex=len(model.operatorCodes)
    )
    code = schema.OperatorCodeT(
        builtinCode=schema.BuiltinOperator.PAD, deprecatedBuiltinCode=schema.BuiltinOperator.PAD
    )
    model.operatorCodes.append(code)
    step.builtinOptionsType = schema.BuiltinOptions.PadOptions
    step.builtinOptions = PAD_OPTIONS
    graph.operators.insert(graph.operators.index(op), step)
    op.inputs = [start, int(op.inputs[1]), start + 2]
