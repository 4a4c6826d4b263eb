"""Runs the functions of a directory through Microsoft's worker library, in this process."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import azure_functions_runtime as runtime  # type: ignore[import-untyped] # the library carries no types

from local.protos import PROTOS, Message, ParameterBinding, StatusResult, TypedData


class FunctionError(Exception):
    """A function, or the indexing of all functions, raised; `trace` is the worker's account of it."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the worker has indexed it; `trigger` is the trigger's binding (function.json)."""

    id: str
    name: str
    trigger: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Worker:
    """The indexed functions. There can be one worker in a process: the library keeps its state in globals."""

    functions: tuple[Function, ...]

    @classmethod
    async def start(cls, directory: Path) -> Self:
        """Import `function_app.py` of the directory and index it. Raises FunctionError."""
        runtime.start_threadpool_executor()
        init = Message(capabilities={}, function_app_directory=str(directory))
        started = await runtime.worker_init_request(_envelope(worker_init_request=init))
        _raise_on_failure(started.result)
        answer = await runtime.functions_metadata_request(_envelope())
        functions = tuple(_function(metadata) for metadata in answer.function_metadata_results or ())
        for function in functions:
            load = Message(function_id=function.id)
            _raise_on_failure(
                (await runtime.function_load_request(_envelope(function_load_request=load))).result
            )
        return cls(functions)

    async def invoke(self, function: Function, data: TypedData) -> TypedData | None:
        """Call a function with its trigger's data; answers what it returned. Raises FunctionError."""
        request = Message(
            invocation_id=str(uuid4()),
            function_id=function.id,
            input_data=[ParameterBinding(name=function.trigger["name"], data=data)],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        response = await runtime.invocation_request(_envelope(invocation_request=request))
        _raise_on_failure(response.result)
        returned: TypedData | None = response.return_value
        return returned


def _envelope(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"protos": PROTOS})


def _function(metadata: Message) -> Function:
    bindings = [json.loads(binding) for binding in metadata.raw_bindings]
    trigger = next(binding for binding in bindings if binding["type"].endswith("Trigger"))
    return Function(metadata.function_id, metadata.name, trigger)


def _raise_on_failure(result: StatusResult) -> None:
    if result.status == StatusResult.Failure:
        raise FunctionError(result.exception.message, result.exception.stack_trace)
