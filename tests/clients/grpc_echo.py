"""A gRPC server and its client; the way between them is what is tested.

Says `port <n>`, reads `gateway <n>`, then calls the server through that port and says `done`.
"""

import sys
import threading
from concurrent import futures

import grpc

CANCELLED = threading.Event()
AUTHORITY = [("grpc.default_authority", "grpc.test")]


def unary(request, context):
    context.send_initial_metadata([("initial", "1")])
    context.set_trailing_metadata([("trailing", dict(context.invocation_metadata()).get("asked", "-"))])
    return request[::-1]


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä%")


def hang(request, context):
    context.add_callback(CANCELLED.set)
    CANCELLED.wait(20)
    return b""


def many(request, context):
    for number in range(20):
        yield bytes([number]) * 1_000_000


def gather(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def echo(requests, context):
    context.add_callback(CANCELLED.set)
    for request in requests:
        yield request


def serve():
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def status(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def check(port):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=AUTHORITY)
    call = channel.unary_unary("/test.Echo/Unary")
    answer, state = call.with_call(b"abc", metadata=[("asked", "x")], timeout=20)
    assert answer == b"cba", answer
    assert dict(state.initial_metadata())["initial"] == "1"
    assert dict(state.trailing_metadata())["trailing"] == "x"
    assert call(b"", timeout=20) == b""

    code, details = status(lambda: channel.unary_unary("/test.Echo/Fail")(b"", timeout=20))
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "no such thing: ä%"), (code, details)
    code, _ = status(lambda: channel.unary_unary("/test.Echo/None")(b"", timeout=20))
    assert code == grpc.StatusCode.UNIMPLEMENTED, code

    pieces = list(channel.unary_stream("/test.Echo/Many")(b"", timeout=20))
    assert [len(piece) for piece in pieces] == [1_000_000] * 20
    total = channel.stream_unary("/test.Echo/Gather")((b"x" * 100_000 for _ in range(100)), timeout=20)
    assert total == b"10000000", total

    # Each message is answered before the next one is sent.
    turn, sent = threading.Semaphore(1), []

    def questions():
        for number in range(100):
            turn.acquire()
            sent.append(number)
            yield str(number).encode()

    answers = channel.stream_stream("/test.Echo/Echo")(questions(), timeout=20)
    for number in range(100):
        assert next(answers) == str(number).encode() and sent[-1] == number
        turn.release()
    assert next(answers, None) is None
    # The end of this call is told to the server, too, and would be taken for that of the next one.
    assert CANCELLED.wait(10), "the server is not told of the end"

    # A deadline ends the call on both sides.
    CANCELLED.clear()
    code, _ = status(lambda: channel.unary_unary("/test.Echo/Hang")(b"", timeout=0.3))
    assert code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE), code
    assert CANCELLED.wait(10), "the server is not told of the deadline"

    # So does the client's change of mind.
    CANCELLED.clear()
    stop = threading.Event()
    answers = channel.stream_stream("/test.Echo/Echo")(iter(lambda: stop.wait(0.01) or b"x", True), timeout=20)
    next(answers)
    answers.cancel()
    assert CANCELLED.wait(10), "the server is not told that the client cancelled"
    stop.set()

    # What the gateway itself answers is a gRPC status.
    for authority, expected in (("nobody.test", grpc.StatusCode.UNIMPLEMENTED), ("empty.test", grpc.StatusCode.UNAVAILABLE)):
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.default_authority", authority)]) as other:
            code, details = status(lambda: other.unary_unary("/test.Echo/Unary")(b"", timeout=20))
            assert code == expected, (authority, code, details)


server, port = serve()
print("port", port, flush=True)
word, gateway = sys.stdin.readline().split()
check(gateway)
print("done", flush=True)
server.stop(0)
