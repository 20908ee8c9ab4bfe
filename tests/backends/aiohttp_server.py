"""aiohttp's server.

Says `port <number>`, then a line for each request that has come to its end: method, target, length of the body.
"""

import asyncio

from aiohttp import web


async def answer(request):
    body = await request.read()
    print(request.method, request.raw_path, len(body), flush=True)
    return web.Response(text="seen")


async def main():
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("port", site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
