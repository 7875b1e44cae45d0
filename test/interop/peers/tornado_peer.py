"""A peer on Tornado, in both roles."""

import asyncio

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

from peer import orders, parse, parse_close, tell, tell_ended


async def obey(socket, message):
    verb, rest = parse(message)
    if verb == "close":
        socket.close(*parse_close(rest))
    elif verb == "ping":
        socket.ping(rest.encode())
    elif verb == "subprotocol":
        await socket.write_message(socket.selected_subprotocol)
    else:
        await socket.write_message(message, binary=isinstance(message, bytes))


class Handler(WebSocketHandler):
    def select_subprotocol(self, subprotocols):
        return "v2" if "v2" in subprotocols else None

    def get_compression_options(self):
        return {}

    async def on_message(self, message):
        await obey(self, message)

    async def on_pong(self, data):
        await self.write_message("pong " + data.decode())

    def on_close(self):
        tell_ended(self.request.path, self.close_code, self.close_reason)


async def connect(url, path, protocols):
    socket = await websocket_connect(url, subprotocols=protocols, compression_options={}, max_message_size=2**30)
    socket.on_pong = lambda data: socket.write_message("pong " + data.decode())
    while (message := await socket.read_message()) is not None:
        await obey(socket, message)
    tell_ended(path, socket.close_code, socket.close_reason)


async def main():
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/.*", Handler)], websocket_max_message_size=2**30))
    server.add_sockets(sockets)
    tell(port=sockets[0].getsockname()[1])
    await orders(connect)


asyncio.run(main())
