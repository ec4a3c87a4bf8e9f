"""Python's grpcio against the example tonic; scripts/clients starts it and sets the environment."""

import os
import sys

import grpc

# Makes the client from the same file that the example's server was made from.
sys.path.insert(0, "examples/tonic")
messages, services = grpc.protos_and_services("helloworld.proto")

GRPC, HOST, UNDERSTUDY, GUEST = (os.environ[name] for name in ("GRPC", "HOST", "UNDERSTUDY", "GUEST"))
failures = 0


def report(fact, problem=None):
    global failures
    failures += problem is not None
    print(f"not ok: grpcio: {fact}: {problem}" if problem else f"ok: grpcio: {fact}")


def granted(fact, stub, **metadata):
    try:
        request = messages.HelloRequest(name="Ada")
        reply = stub.SayHello(request, metadata=list(metadata.items()), timeout=10)
        expected = "hello Ada, says host"
        report(fact, None if reply.message == expected else f"got {reply.message!r}")
    except grpc.RpcError as error:
        report(fact, repr(error))


def refused(fact, method, status, code, detail, metadata):
    try:
        reply = method(messages.HelloRequest(name="Ada"), metadata=metadata, timeout=10)
        report(fact, f"got {reply!r}")
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
        found = (error.code(), trailers.get("error-code"), error.details())
        expected = (status, code, detail)
        report(fact, None if found == expected else f"expected {expected}, got {found}, {trailers}")


INVALID = "API Key is missing or invalid."
NO_MODULE = "API Key does not have access to required module resource"
LIMIT = "License limit reached, cannot reserve additional licenses."

with grpc.insecure_channel(GRPC) as channel:
    stub = services.GreeterStub(channel)
    granted("a key as x-api-key is granted", stub, **{"x-api-key": HOST})
    granted("a key as a bearer token is granted", stub, authorization=f"Bearer {HOST}")

    unauthenticated, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    for fact, status, code, detail, metadata in [
        ("no key is UNAUTHENTICATED", unauthenticated, "missing_credential", INVALID, []),
        ("an unknown key is UNAUTHENTICATED", unauthenticated, "invalid_key", INVALID, [("x-api-key", "x")]),
        ("a key without the module is PERMISSION_DENIED", denied, "module_access_missing", NO_MODULE, [("x-api-key", GUEST)]),
        ("a key without a seat is PERMISSION_DENIED", denied, "license_limit_reached", LIMIT, [("x-api-key", UNDERSTUDY)]),
        (
            "two keys are INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT, "multiple_credentials",
            "The request carries more than one credential.",
            [("x-api-key", HOST), ("authorization", f"Bearer {HOST}")],
        ),
    ]:
        refused(fact, stub.SayHello, status, code, detail, metadata)

    serialize = messages.HelloRequest.SerializeToString
    unmapped = channel.unary_unary("/helloworld.Other/SayHello", request_serializer=serialize)
    refused(
        "a service that nobody mapped is PERMISSION_DENIED", unmapped, denied, "route_not_mapped",
        "No access rule covers this route.", [("x-api-key", HOST)],
    )
    # The module covers the whole service; that there is no such method is tonic's to say.
    missing = channel.unary_unary("/helloworld.Greeter/Missing", request_serializer=serialize)
    refused(
        "an unknown method of a granted service is UNIMPLEMENTED", missing,
        grpc.StatusCode.UNIMPLEMENTED, None, "", [("x-api-key", HOST)],
    )

sys.exit(failures != 0)
