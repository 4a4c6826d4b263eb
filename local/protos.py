"""The messages between the Functions host and Microsoft's worker library.

In Azure they are protobuf messages over gRPC (FunctionRpc.proto of azure-functions-language-worker-protobuf).
The library only asks for attributes, and takes the classes from whoever runs it, so plain records do here.
"""

from types import SimpleNamespace


class Message(SimpleNamespace):
    """A record whose fields are the arguments it was made with."""


class OneOf(Message):
    """A message with one field set, or none (protobuf's `oneof`)."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - protobuf's name
        """Name the field that is set."""
        return next(iter(vars(self)), None)


class TypedData(OneOf):
    """A value on its way in or out, in the field of its kind: `http`, `json`, `string` or `bytes`."""


class ParameterBinding(Message):
    """A value for one parameter of a function."""

    name: str
    data: TypedData

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - protobuf's name
        """Name the field that is set: values never travel by shared memory here."""
        return "data"


class StatusResult(Message):
    """Whether the worker did what it was asked; `exception` has a message and a stack_trace."""

    Failure = 0
    Success = 1
    status: int
    exception: Message


class BindingInfo(Message):
    """The direction and data type of a binding."""

    out = 1
    inout = 2
    undefined = 0


class RpcHttpCookie(Message):
    """A cookie of a response, as the worker understood it."""

    SameSite = SimpleNamespace(**{"None": "", "Lax": "lax", "Strict": "strict", "ExplicitNone": "none"})
    """The values are what the host writes for each."""


PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionLoadResponse=Message,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    NullableBool=Message,
    NullableDouble=Message,
    NullableString=Message,
    NullableTimestamp=Message,
    ParameterBinding=ParameterBinding,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    RpcHttp=Message,
    RpcHttpCookie=RpcHttpCookie,
    StatusResult=StatusResult,
    Timestamp=Message,
    TypedData=TypedData,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)
"""The namespace that is handed to the worker library."""
