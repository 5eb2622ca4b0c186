# SPDX-License-Identifier: Apache-2.0
"""An HLO program as a JAX function, which JAX can map over runs (README.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax._src.interpreters import mlir
from jaxlib import _jax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

DTYPES = {"f32": "float32", "f64": "float64", "i1": "bool", "i32": "int32", "i64": "int64"}
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": lax.abs,
    "add": lax.add,
    "and": lax.bitwise_and,
    "ceil": lax.ceil,
    "clamp": lax.clamp,
    "divide": lax.div,
    "exponential": lax.exp,
    "log": lax.log,
    "logistic": lax.logistic,
    "maximum": lax.max,
    "multiply": lax.mul,
    "negate": lax.neg,
    "power": lax.pow,
    "rsqrt": lax.rsqrt,
    "select": lax.select,
    "sqrt": lax.sqrt,
    "subtract": lax.sub,
}
COMPARISONS = {"EQ": lax.eq, "NE": lax.ne, "GE": lax.ge, "GT": lax.gt, "LT": lax.lt}


def program_of(path: Path) -> Callable[..., tuple[jax.Array, ...]]:
    """The function of an HLO file, of its parameters in order.

    Raises:
        NotImplementedError: the program has an operation that the networks do not use.
    """
    context = mlir.make_ir_context()
    with context:
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(path.read_bytes()))

    def run(*arguments: jax.Array) -> tuple[jax.Array, ...]:
        functions = {f.attributes["sym_name"].value: f for f in module.body.operations}
        with context:
            return run_block(functions["main"].regions[0].blocks[0], arguments)

    return run


def run_block(block: Any, arguments: Any) -> tuple[Any, ...]:
    """Results of a block; constants stay NumPy's, so that JAX recognises sums and maxima."""
    values = dict(zip(map(hash, block.arguments), arguments, strict=True))
    for operation in block.operations:
        inputs = [values[hash(operand)] for operand in operation.operands]
        kind = operation.operation.name
        if kind.endswith(".return"):
            return tuple(inputs)
        results = run_operation(kind.split(".")[1], operation, inputs)
        values |= zip(map(hash, operation.results), results, strict=True)
    raise AssertionError("a block without return")


def run_operation(kind: str, operation: Any, inputs: list[Any]) -> Any:  # noqa: C901, a case each
    """Results of one operation."""
    facts, result = operation.attributes, ir.RankedTensorType(operation.results[0].type)
    shape, dtype = tuple(result.shape), DTYPES[str(result.element_type)]

    def numbers(name: str) -> tuple[int, ...]:
        return tuple(facts[name]) if name in facts else ()

    match kind:
        case "constant":
            value = facts["value"]
            if value.is_splat:
                return [np.full(shape, value.get_splat_value().value, dtype)]
            return [np.array(value, dtype).reshape(shape)]
        case "copy":
            return inputs
        case "reshape":
            return [lax.reshape(inputs[0], shape)]
        case "convert":
            return [lax.convert_element_type(inputs[0], dtype)]
        case "broadcast_in_dim":
            return [lax.broadcast_in_dim(inputs[0], shape, numbers("broadcast_dimensions"))]
        case "transpose":
            return [lax.transpose(inputs[0], numbers("permutation"))]
        case "reverse":
            return [lax.rev(inputs[0], numbers("dimensions"))]
        case "iota":
            return [lax.broadcasted_iota(dtype, shape, facts["iota_dimension"].value)]
        case "concatenate":
            return [lax.concatenate(inputs, facts["dimension"].value)]
        case "compare":
            direction = stablehlo.ComparisonDirectionAttr(facts["comparison_direction"]).value
            return [COMPARISONS[direction](*inputs)]
        case "slice":
            parts = (numbers(name) for name in ("start_indices", "limit_indices", "strides"))
            return [lax.slice(inputs[0], *parts)]
        case "pad":
            names = ("edge_padding_low", "edge_padding_high", "interior_padding")
            return [lax.pad(*inputs, list(zip(*map(numbers, names), strict=True)))]
        case "dot" | "dot_general":
            return [run_dot(operation, inputs)]
        case "convolution":
            return [run_convolution(operation, inputs)]
        case "reduce":
            combine = combination(operation)
            return [lax.reduce(*inputs, combine, numbers("dimensions"))]
        case "reduce_window":
            size = numbers("window_dimensions")
            padding = np.array(facts["padding"]).reshape(-1, 2).tolist()
            window = (size, numbers("window_strides") or (1,) * len(size), padding)
            return [lax.reduce_window(*inputs, combination(operation), *window)]
        case "gather":
            return [run_gather(operation, inputs)]
        case "scatter":
            return [run_scatter(operation, inputs)]
        case "batch_norm_training" | "batch_norm_inference" | "batch_norm_grad":
            return run_norm(kind, operation, inputs)
    if kind in ELEMENTWISE:
        return [ELEMENTWISE[kind](*inputs)]
    raise NotImplementedError(f"experiments/accelerator has no {kind}")


def combination(operation: Any) -> Callable[..., Any]:
    """How a reduction combines two values."""
    block = operation.regions[0].blocks[0]
    return lambda *pair: run_block(block, pair)[0]


def run_dot(operation: Any, inputs: list[Any]) -> Any:
    """Matrix product, in single precision."""
    facts = operation.attributes
    dimensions = (((inputs[0].ndim - 1,), (0,)), ((), ()))
    if "dot_dimension_numbers" in facts:
        n = stablehlo.DotDimensionNumbers(facts["dot_dimension_numbers"])
        contracting = n.lhs_contracting_dimensions, n.rhs_contracting_dimensions
        dimensions = contracting, (n.lhs_batching_dimensions, n.rhs_batching_dimensions)
    return lax.dot_general(*inputs, dimensions, precision=lax.Precision.HIGHEST)


def run_convolution(operation: Any, inputs: list[Any]) -> Any:
    """Convolution, in single precision."""
    facts = operation.attributes
    n = stablehlo.ConvDimensionNumbers(facts["dimension_numbers"])
    names = lax.ConvDimensionNumbers(
        (n.input_batch_dimension, n.input_feature_dimension, *n.input_spatial_dimensions),
        (
            n.kernel_output_feature_dimension,
            n.kernel_input_feature_dimension,
            *n.kernel_spatial_dimensions,
        ),
        (n.output_batch_dimension, n.output_feature_dimension, *n.output_spatial_dimensions),
    )
    return lax.conv_general_dilated(
        *inputs,
        tuple(facts["window_strides"]),
        np.array(facts["padding"]).reshape(-1, 2).tolist(),
        tuple(facts["lhs_dilation"]),
        tuple(facts["rhs_dilation"]),
        names,
        facts["feature_group_count"].value,
        facts["batch_group_count"].value,
        lax.Precision.HIGHEST,
    )


def run_gather(operation: Any, inputs: list[Any]) -> Any:
    """Parts of an array at indices."""
    facts = operation.attributes
    n = stablehlo.GatherDimensionNumbers(facts["dimension_numbers"])
    names = lax.GatherDimensionNumbers(
        tuple(n.offset_dims), tuple(n.collapsed_slice_dims), tuple(n.start_index_map)
    )
    indices = index_vectors(inputs[1], n.index_vector_dim)
    return lax.gather(inputs[0], indices, names, tuple(facts["slice_sizes"]), mode="clip")


def run_scatter(operation: Any, inputs: list[Any]) -> Any:
    """An array to which parts are added at indices."""
    n = stablehlo.ScatterDimensionNumbers(operation.attributes["scatter_dimension_numbers"])
    names = lax.ScatterDimensionNumbers(
        tuple(n.update_window_dims),
        tuple(n.inserted_window_dims),
        tuple(n.scattered_dims_to_operand_dims),
    )
    indices = index_vectors(inputs[1], n.index_vector_dim)
    return lax.scatter_add(inputs[0], indices, inputs[2], names, mode="clip")


def index_vectors(indices: Any, axis: int) -> Any:
    """Indices as JAX wants them: with an axis of vectors, also where a vector has one number."""
    return indices[..., None] if axis == indices.ndim else indices


def run_norm(kind: str, operation: Any, inputs: list[Any]) -> Any:
    """Batch normalisation of the last axis."""
    epsilon = np.float32(operation.attributes["epsilon"].value)
    x, scale = inputs[:2]
    axes = tuple(range(x.ndim - 1))
    count = np.float32(np.prod(x.shape[:-1]))
    if kind == "batch_norm_inference":
        offset, mean, variance = inputs[2:]
        return [(x - mean) * (lax.rsqrt(variance + epsilon) * scale) + offset]
    if kind == "batch_norm_training":
        mean = jnp.sum(x, axes) / count
        variance = jnp.sum(x * x, axes) / count - mean * mean
        inverse = lax.rsqrt(variance + epsilon)
        return [(x - mean) * (inverse * scale) + inputs[2], mean, variance]
    mean, variance, gradient = inputs[2:]
    inverse = lax.rsqrt(variance + epsilon)
    normal = (x - mean) * inverse
    of_offset = jnp.sum(gradient, axes)
    of_scale = jnp.sum(gradient * normal, axes)
    of_x = scale * inverse * (gradient - (of_offset + normal * of_scale) / count)
    return [of_x, of_scale, of_offset]
