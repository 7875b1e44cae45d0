"""A server over HTTP/2 without TLS, on h2 and wsproto: each stream is a connection of its own (RFC 8441)."""

import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from peer import orders, parse, parse_close, tell, tell_ended

ENABLE_CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


class Stream:
    """A connection: frames of WebSocket in the data of a stream."""

    def __init__(self, session, stream, headers):
        self.session = session
        self.stream = stream
        self.path = headers[":path"]
        self.waiting = b""
        self.ending = False
        self.closed = (1006, "")
        self.pinged = None
        self.parts = []
        offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]
        self.subprotocol = next((each for each in ("v3", "v2") if each in offered), None)
        response = [(":status", "200")]
        extensions = []
        if self.subprotocol:
            response.append(("sec-websocket-protocol", self.subprotocol))
        if "permessage-deflate" in headers.get("sec-websocket-extensions", ""):
            deflate = PerMessageDeflate()
            accepted = deflate.accept(headers["sec-websocket-extensions"].split(",")[0])
            value = "permessage-deflate" + ("; " + accepted if accepted else "")
            response.append(("sec-websocket-extensions", value))
            extensions.append(deflate)
        self.frames = Connection(ConnectionType.SERVER, extensions)
        session.h2.send_headers(stream, response)

    def send(self, event):
        self.waiting += self.frames.send(event)

    def receive(self, data):
        self.frames.receive_data(data)
        for event in self.frames.events():
            self.on_event(event)

    def on_event(self, event):
        if isinstance(event, Message):
            self.parts.append(event.data)
            if event.message_finished:
                joined = ("" if isinstance(event, TextMessage) else b"").join(self.parts)
                self.parts = []
                self.obey(joined)
        elif isinstance(event, Ping):
            self.send(event.response())
        elif isinstance(event, Pong) and self.pinged is not None:
            self.send(TextMessage("pong " + self.pinged))
            self.pinged = None
        elif isinstance(event, CloseConnection):
            self.closed = (event.code, event.reason)
            if self.frames.state is ConnectionState.REMOTE_CLOSING:
                self.send(event.response())
            self.ending = True

    def obey(self, message):
        verb, rest = parse(message)
        if verb == "close":
            code, reason = parse_close(rest)
            self.send(CloseConnection(code=code, reason=reason))
        elif verb == "ping":
            self.pinged = rest
            self.send(Ping(payload=rest.encode()))
        elif verb == "fragments":
            parts = rest.split(" ")
            for index, part in enumerate(parts):
                self.send(TextMessage(part, message_finished=index == len(parts) - 1))
        elif verb == "subprotocol":
            self.send(TextMessage(self.subprotocol))
        elif isinstance(message, str):
            self.send(TextMessage(message))
        else:
            self.send(BytesMessage(bytes(message)))

    def flush(self):
        """Sends what the windows allow, and END_STREAM behind the close frame."""
        h2_connection = self.session.h2
        while self.waiting:
            size = min(h2_connection.local_flow_control_window(self.stream), h2_connection.max_outbound_frame_size)
            if size <= 0:
                return
            h2_connection.send_data(self.stream, self.waiting[:size])
            self.waiting = self.waiting[size:]
        if self.ending:
            self.ending = False
            h2_connection.end_stream(self.stream)


class Session(asyncio.Protocol):
    def __init__(self):
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.streams = {}

    def connection_made(self, transport):
        self.transport = transport
        # Settings that are changed later are sent in a second frame.
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values={ENABLE_CONNECT_PROTOCOL: 1})
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data):
        try:
            events = self.h2.receive_data(data)
            for event in events:
                self.on_event(event)
        finally:
            self.flush()

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            headers = {name.decode(): value.decode() for name, value in event.headers}
            if headers.get(":protocol") == "websocket":
                self.streams[event.stream_id] = Stream(self, event.stream_id, headers)
            else:
                self.h2.send_headers(event.stream_id, [(":status", "501")], end_stream=True)
        elif isinstance(event, h2.events.DataReceived) and event.stream_id in self.streams:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.streams[event.stream_id].receive(event.data)
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            self.end(event.stream_id)

    def end(self, stream):
        ended = self.streams.pop(stream, None)
        if ended is not None:
            try:
                ended.flush()
            except h2.exceptions.ProtocolError:
                pass
            tell_ended(ended.path, *ended.closed)

    def flush(self):
        for stream in list(self.streams.values()):
            stream.flush()
        self.transport.write(self.h2.data_to_send())

    def connection_lost(self, _):
        for stream in list(self.streams.values()):
            tell_ended(stream.path, *stream.closed)
        self.streams.clear()


async def connect(url, path, protocols):
    raise NotImplementedError("it is a server")


async def main():
    server = await asyncio.get_running_loop().create_server(Session, "127.0.0.1", 0)
    tell(port=server.sockets[0].getsockname()[1])
    await orders(connect)


asyncio.run(main())
