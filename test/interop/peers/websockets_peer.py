"""A peer on websockets, in both roles."""

import asyncio

import websockets

from peer import orders, parse, parse_close, tell, tell_ended


async def obey(socket, path):
    try:
        async for message in socket:
            verb, rest = parse(message)
            if verb == "close":
                code, reason = parse_close(rest)
                await socket.close(code, reason)
            elif verb == "ping":
                pong = await socket.ping(rest)
                await pong
                await socket.send("pong " + rest)
            elif verb == "fragments":
                await socket.send(rest.split(" "))
            elif verb == "subprotocol":
                await socket.send(socket.subprotocol)
            else:
                await socket.send(message)
    except websockets.ConnectionClosed:
        pass
    await socket.wait_closed()
    tell_ended(path, socket.close_code, socket.close_reason)


async def serve(socket):
    await obey(socket, socket.path if hasattr(socket, "path") else socket.request.path)


async def connect(url, path, protocols):
    async with websockets.connect(url, subprotocols=protocols, max_size=None) as socket:
        await obey(socket, path)


async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["v3", "v2"], max_size=None) as server:
        tell(port=server.sockets[0].getsockname()[1])
        await orders(connect)


asyncio.run(main())
