"""A peer on aiohttp, in both roles."""

import asyncio

from aiohttp import ClientSession, WSMsgType, web

from peer import orders, parse, parse_close, tell, tell_ended


async def obey(socket, path):
    # Not `async for`, which keeps the close frame for itself; where none came the library may say 1000.
    code, reason = 1006, ""
    while not socket.closed:
        message = await socket.receive()
        verb, rest = parse(message.data)
        if message.type == WSMsgType.CLOSE:
            code, reason = message.data or 1005, message.extra
        elif message.type == WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type == WSMsgType.PONG:
            await socket.send_str("pong " + message.data.decode())
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type != WSMsgType.TEXT:
            break
        elif verb == "close":
            code, reason = parse_close(rest)
            await socket.close(code=code, message=reason.encode())
        elif verb == "ping":
            await socket.ping(rest)
        elif verb == "subprotocol":
            await socket.send_str(getattr(socket, "protocol", None) or socket.ws_protocol)
        else:
            await socket.send_str(message.data)
    tell_ended(path, code, reason)


async def serve(request):
    # Pings are answered above: with autoping pongs would be swallowed.
    socket = web.WebSocketResponse(protocols=["v3", "v2"], max_msg_size=0, autoping=False)
    await socket.prepare(request)
    await obey(socket, request.path)
    return socket


async def connect(url, path, protocols):
    async with ClientSession() as session:
        options = {"protocols": protocols or (), "max_msg_size": 0, "autoping": False, "compress": 15}
        async with session.ws_connect(url, **options) as socket:
            await obey(socket, path)


async def main():
    application = web.Application()
    application.router.add_get("/{path}", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    tell(port=runner.addresses[0][1])
    await orders(connect)
    await runner.cleanup()


asyncio.run(main())
