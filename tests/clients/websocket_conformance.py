"""What RFC 6455 promises, between two independent WebSocket libraries, each as client and as server.

Says `ports <n> <n>` (the servers of `websockets` and of `aiohttp`), reads `gateway <n> <n>` (where the gateway
routes to one and to the other), runs every check for each client and server, and says `done`. A check is a
coroutine of a connected client; the raw ones speak frames themselves, since no library sends a wrong one.
"""

import asyncio
import base64
import contextlib
import os
import struct
import sys

import aiohttp
import websockets
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LIMIT = 20
# What servers saw of connections that ended, by the query they were opened with.
ENDED = {}
SEEN = {}


def ended(query):
    return ENDED.setdefault(query, asyncio.get_running_loop().create_future())


# --- the servers: echo, and a few words they obey ---


def choose(_, offered):
    return "superchat" if "superchat" in offered else None


async def serve_websockets(socket):
    query = socket.request.path.partition("?")[2]
    SEEN[query] = (socket.request.path, {k.lower(): v for k, v in socket.request.headers.raw_items()})
    try:
        async for message in socket:
            if message == "close":
                await socket.close(4000, "as you wish")
            elif message == "drop":
                socket.transport.abort()
            elif message == "ping":
                await asyncio.wait_for(await socket.ping(b"are you there"), LIMIT)
                await socket.send("you are")
            elif message == "flood":
                for _ in range(64):
                    await socket.send(b"x" * 65536)
            else:
                await socket.send(message)
    except websockets.ConnectionClosedError:
        pass
    if not ended(query).done():
        ended(query).set_result(socket.close_code)


async def serve_aiohttp(request):
    socket = web.WebSocketResponse(max_msg_size=0, protocols=("chat", "superchat"))
    query = request.query_string
    SEEN[query] = (request.path_qs, {k.lower(): v for k, v in request.headers.items()})
    await socket.prepare(request)
    async for message in socket:
        if message.type == aiohttp.WSMsgType.ERROR:
            break
        if message.type == aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data == "close":
            await socket.close(code=4000, message=b"as you wish")
        elif message.data == "drop":
            request.transport.abort()
        elif message.data == "ping":
            await socket.ping(b"are you there")
            await socket.send_str("you are")
        elif message.data == "flood":
            for _ in range(64):
                await socket.send_bytes(b"x" * 65536)
        else:
            await socket.send_str(message.data)
    if not ended(query).done():
        ended(query).set_result(socket.close_code)
    return socket


# --- the clients, under one face ---


class Websockets:
    """The library `websockets` as client."""

    name = "websockets"

    def __init__(self, socket):
        self.socket = socket
        self.subprotocol = socket.subprotocol
        self.send, self.recv = socket.send, socket.recv

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url, compress=False, protocols=None, headers=None):
        compression = "deflate" if compress else None
        async with connect(
            url, max_size=None, compression=compression, subprotocols=protocols, additional_headers=headers
        ) as socket:
            yield cls(socket)

    @property
    def compressed(self):
        return bool(self.socket.protocol.extensions)

    async def pong(self, payload):
        await asyncio.wait_for(await self.socket.ping(payload), LIMIT)

    async def send_fragments(self, pieces):
        await self.socket.send(pieces)

    async def close(self, code, reason):
        await self.socket.close(code, reason)

    async def closing(self):
        try:
            await asyncio.wait_for(self.socket.recv(), LIMIT)
        except websockets.ConnectionClosed:
            return self.socket.close_code, self.socket.close_reason
        raise AssertionError("a message where the end was due")


class Aiohttp:
    """The library `aiohttp` as client."""

    name = "aiohttp"

    def __init__(self, socket):
        self.socket = socket
        self.subprotocol = socket.protocol
        self.compressed = bool(socket.compress)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url, compress=False, protocols=(), headers=None):
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(
                url, max_msg_size=0, compress=15 if compress else 0, protocols=protocols or (),
                headers=headers, autoping=True,
            ) as socket:
                yield cls(socket)

    async def send(self, message):
        await (self.socket.send_str if isinstance(message, str) else self.socket.send_bytes)(message)

    async def recv(self):
        message = await self.socket.receive(timeout=LIMIT)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    async def pong(self, payload):
        # The library answers pings and swallows pongs: an echo behind the ping shows that the way is clear.
        await self.socket.ping(payload)
        await self.send("after")
        assert await self.recv() == "after"

    async def send_fragments(self, pieces):
        await self.send("".join(pieces) if isinstance(pieces[0], str) else b"".join(pieces))

    async def close(self, code, reason):
        await self.socket.close(code=code, message=reason.encode())

    async def closing(self):
        message = await self.socket.receive(timeout=LIMIT)
        return self.socket.close_code, message.extra


# --- the checks by library ---


async def texts_and_bytes_of_every_length(client, query):
    for length in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20):
        for message in ("y" * length, bytes(length)):
            await client.send(message)
            assert await client.recv() == message, (length, type(message))


async def text_beyond_ascii(client, query):
    message = "κόσμε \U0001f600 \u0000 ﬁ" * 100
    await client.send(message)
    assert await client.recv() == message


async def fragments_make_one_message(client, query):
    await client.send_fragments(["frag", "men", "", "ted"])
    assert await client.recv() == "fragmented"
    await client.send_fragments([b"a" * 70000, b"b" * 70000])
    assert await client.recv() == b"a" * 70000 + b"b" * 70000


async def pings_both_ways(client, query):
    for payload in (b"", b"hello", bytes(125)):
        await client.pong(payload)
    await client.send("ping")
    assert await client.recv() == "you are"


async def order_is_kept(client, query):
    for number in range(500):
        await client.send(str(number))
    for number in range(500):
        assert await client.recv() == str(number)


async def a_slow_reader_gets_everything(client, query):
    await client.send("flood")
    await asyncio.sleep(0.2)
    for _ in range(64):
        assert len(await client.recv()) == 65536


async def the_client_closes(client, query):
    await client.close(3001, "enough")
    assert await asyncio.wait_for(ended(query), LIMIT) == 3001


async def the_server_closes(client, query):
    await client.send("close")
    assert await client.closing() == (4000, "as you wish")


async def the_server_drops(client, query):
    await client.send("drop")
    code, _ = await client.closing()
    assert code == 1006, code


async def the_handshake_is_told(client, query):
    path, headers = SEEN[query]
    assert path == f"/chat?{query}", path
    assert headers["x-asked"] == "a, b" and headers["cookie"] == "k=v", headers
    assert headers["connection"].lower() == "upgrade" and headers["upgrade"].lower() == "websocket", headers
    assert headers["x-forwarded-proto"] == "http", headers


PLAIN = [
    texts_and_bytes_of_every_length,
    text_beyond_ascii,
    fragments_make_one_message,
    pings_both_ways,
    order_is_kept,
    a_slow_reader_gets_everything,
    the_client_closes,
    the_server_closes,
    the_server_drops,
    the_handshake_is_told,
]


async def check_libraries(client, server, port):
    count = 0
    for check in PLAIN:
        query = f"{check.__name__}-{client.name}-{server}"
        headers = {"x-asked": "a, b", "cookie": "k=v"}
        async with client.open(f"ws://127.0.0.1:{port}/chat?{query}", headers=headers) as opened:
            await asyncio.wait_for(check(opened, query), LIMIT)
        count += 1
    url = f"ws://127.0.0.1:{port}/chat?compressed-{client.name}-{server}"
    async with client.open(url, compress=True) as opened:
        assert opened.compressed, "permessage-deflate was offered and taken"
        for message in ("abc " * 100_000, b"\x00" * 300_000, "x"):
            await opened.send(message)
            assert await opened.recv() == message
    url = f"ws://127.0.0.1:{port}/chat?protocol-{client.name}-{server}"
    async with client.open(url, protocols=["mqtt", "superchat"]) as opened:
        assert opened.subprotocol == "superchat", opened.subprotocol
    return count + 2


# --- the checks of raw frames ---


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True):
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Frames:
    """A connection that speaks frames."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port, query, at_once=b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /chat?{query} HTTP/1.1\r\nHost: ws.test\r\nConnection: keep-alive, Upgrade\r\n"
            f"Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            + at_once
        )
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT)).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        return cls(reader, writer)

    def send(self, data):
        self.writer.write(data)

    async def next(self):
        first, second = await asyncio.wait_for(self.reader.readexactly(2), LIMIT)
        assert not second & 0x80, "a server's frames are not masked"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await asyncio.wait_for(self.reader.readexactly(length), LIMIT)

    async def verdict(self):
        """The code of the server's close, or what it did instead."""
        try:
            opcode, payload = await asyncio.wait_for(self.next(), 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return "ended"
        except TimeoutError:
            return "silent"
        if opcode != CLOSE:
            return f"answered {opcode}"
        return struct.unpack("!H", payload[:2])[0] if payload else 1005


WRONG = {
    "utf8": frame(TEXT, b"\xce\xba\xff"),
    "reserved": frame(TEXT, b"x", rsv=2),
    "opcode": frame(3, b"x"),
    "long-ping": frame(PING, bytes(126)),
    "fragmented-ping": frame(PING, b"x", fin=False),
    "continued-nothing": frame(CONT, b"x"),
    "unmasked": frame(TEXT, b"x", masked=False),
    "short-close": frame(CLOSE, b"\x03"),
    "reserved-code": frame(CLOSE, struct.pack("!H", 1005)),
}


async def check_frames(server, port):
    """Gives what the server said to each wrong frame and handshake."""
    codes = {}

    async def opened(name, at_once=b""):
        return await Frames.open(port, f"{name}-{server}", at_once)

    # Bytes sent along with the request belong to the tunnel, but only once it stands.
    connection = await opened("early", frame(TEXT, b"early"))
    assert await connection.next() == (TEXT, b"early")

    # Control frames between the fragments of a message, a byte a segment.
    connection = await opened("between")
    for byte in frame(TEXT, b"one ", fin=False) + frame(PING, b"p") + frame(CONT, b"two"):
        connection.send(bytes([byte]))
        await connection.writer.drain()
    got = [await connection.next(), await connection.next()]
    assert sorted(got) == [(TEXT, b"one two"), (PONG, b"p")], got

    # Pongs nobody asked for change nothing.
    connection = await opened("pong")
    connection.send(frame(PONG, b"unasked") + frame(TEXT, b"x"))
    assert await connection.next() == (TEXT, b"x")

    # What a server must refuse is refused by the server, with its own code.
    for name, data in WRONG.items():
        connection = await opened(name)
        connection.send(data)
        codes[name] = await connection.verdict()

    # A close without a code is answered; then the connection ends.
    connection = await opened("bare-close")
    connection.send(frame(CLOSE))
    opcode, _ = await connection.next()
    assert opcode == CLOSE
    assert await asyncio.wait_for(connection.reader.read(), LIMIT) == b""

    # A client that is gone without a word is noticed by the server.
    connection = await opened("gone")
    connection.writer.transport.abort()
    assert await asyncio.wait_for(ended(f"gone-{server}"), LIMIT) in (1006, None)

    # Handshakes that are none are answered by the server, as HTTP.
    for name, line in [("version", "Sec-WebSocket-Version: 8"), ("no-key", "Sec-WebSocket-Version: 13")]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /chat?{name} HTTP/1.1\r\nHost: ws.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"{line}\r\n\r\n".encode()
        )
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT)).decode()
        codes[name] = int(head.split()[1])
        writer.close()
    return codes


async def main():
    aio = web.Application()
    aio.router.add_get("/chat", serve_aiohttp)
    runner = web.AppRunner(aio, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with serve(
        serve_websockets, "127.0.0.1", 0, max_size=None, select_subprotocol=choose
    ) as other:
        ports = [other.sockets[0].getsockname()[1], site._server.sockets[0].getsockname()[1]]
        print("websockets", ports[0], flush=True)
        print("aiohttp", ports[1], flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        gateways = [int(word) for word in line.split()[1:]] or ports
        checks = 0
        for server, direct_port, port in zip(("websockets", "aiohttp"), ports, gateways):
            for client in (Websockets, Aiohttp):
                checks += await check_libraries(client, server, port)
            direct = await check_frames(server, direct_port)
            ENDED.clear()
            through = await check_frames(server, port)
            assert through == direct, (server, through, direct)
            assert through["utf8"] == 1007 and through["version"] in (400, 426), through
            checks += 5 + len(through)
        print("checks", checks, flush=True)
    print("done", flush=True)


asyncio.run(main())
