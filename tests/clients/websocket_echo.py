"""A WebSocket server and its clients; the way between them is what is tested.

Says `port <n>`, reads `gateway <n>`, then talks through that port and says `done`.
"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus


async def echo(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4000, "as you wish")
            return
        await socket.send(message)


async def talk(url, number):
    async with connect(url, max_size=None, compression=None, origin="http://ws.test") as socket:
        for turn in range(50):
            await socket.send(f"{number} {turn}")
            assert await socket.recv() == f"{number} {turn}"
        large = bytes(range(256)) * 8192
        await socket.send(large)
        assert await socket.recv() == large
        await asyncio.wait_for(await socket.ping(), 10)
        await socket.send("close")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4000, "as you wish")
        else:
            raise AssertionError("not closed")


async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        url = f"ws://127.0.0.1:{line.split()[1]}/chat"
        await asyncio.gather(*(talk(url, number) for number in range(20)))
        # An address without a WebSocket server behind it answers as HTTP.
        try:
            await connect(url.replace("/chat", "/none"))
        except InvalidStatus as refused:
            assert refused.response.status_code == 404, refused
        else:
            raise AssertionError("upgraded")
    print("done", flush=True)


asyncio.run(main())
