"""A client over HTTP/2 without TLS: h2 for the session, wsproto for the frames (RFC 8441)."""

import asyncio
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from peer import orders, parse, parse_close, tell, tell_ended


class Session:
    """One session with one stream."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.waiting = asyncio.Event()
        self.http.initiate_connection()

    def flush(self):
        self.writer.write(self.http.data_to_send())

    async def events(self):
        """The events of what the server sends next; None at the end of the socket."""
        self.flush()
        data = await self.reader.read(65536)
        if not data:
            return None
        events = self.http.receive_data(data)
        self.flush()
        self.waiting.set()
        return events

    async def send(self, stream, data):
        """Sends as much as the windows allow, and waits for more room."""
        while data:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size, len(data))
            if room > 0:
                self.http.send_data(stream, data[:room])
                data = data[room:]
                self.flush()
            else:
                self.waiting.clear()
                await self.waiting.wait()


async def open_stream(session, authority, path, protocols, deflate):
    """Waits for the server's settings, sends the request, and returns the stream and the response's headers."""
    while not session.http.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL, 0):
        if await session.events() is None:
            raise ConnectionError("no settings")
    stream = session.http.get_next_available_stream_id()
    offer = deflate.offer()
    session.http.send_headers(stream, [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path),
        (":authority", authority), ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", deflate.name + ("; " + offer if isinstance(offer, str) else "")),
        *([("sec-websocket-protocol", ", ".join(protocols))] if protocols else []),
    ])
    rest = []
    while True:
        events = await session.events()
        if events is None:
            raise ConnectionError("no response")
        for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                headers = dict(event.headers)
            else:
                rest.append(event)
        if "headers" in locals():
            return stream, headers, rest


async def connect(url, path, protocols):
    parts = urlsplit(url)
    session = Session(*await asyncio.open_connection(parts.hostname, parts.port))
    deflate = PerMessageDeflate()
    stream, headers, pending = await open_stream(session, parts.netloc, path, protocols, deflate)
    if headers[":status"] != "200":
        raise ConnectionError(headers[":status"])
    extensions = []
    if "sec-websocket-extensions" in headers:
        deflate.finalize(headers["sec-websocket-extensions"])
        extensions.append(deflate)
    frames = Connection(ConnectionType.CLIENT, extensions)
    subprotocol = headers.get("sec-websocket-protocol", "")
    outgoing = asyncio.Queue()
    message = []
    ended = {"code": 1006, "reason": ""}

    async def write():
        while True:
            await session.send(stream, await outgoing.get())

    def send(event):
        outgoing.put_nowait(frames.send(event))

    def obey(text):
        verb, rest = parse(text)
        if verb == "close":
            code, reason = parse_close(rest)
            send(CloseConnection(code=1005 if code is None else code, reason=reason))
        elif verb == "ping":
            send(Ping(payload=rest.encode()))
        elif verb == "fragments":
            words = rest.split(" ")
            for i, word in enumerate(words):
                send(TextMessage(data=word, message_finished=i == len(words) - 1))
        elif verb == "subprotocol":
            send(TextMessage(data=subprotocol))
        else:
            send(TextMessage(data=text))

    def receive():
        for event in frames.events():
            if isinstance(event, CloseConnection):
                ended.update(code=event.code, reason=event.reason)
                if frames.state is ConnectionState.REMOTE_CLOSING:
                    send(event.response())
            elif isinstance(event, Ping):
                send(event.response())
            elif isinstance(event, Pong) and event.payload:
                send(TextMessage(data="pong " + bytes(event.payload).decode()))
            elif isinstance(event, (TextMessage, BytesMessage)):
                message.append(event.data)
                if event.message_finished:
                    whole = type(event.data)().join(message)
                    message.clear()
                    if isinstance(event, TextMessage):
                        obey(whole)
                    else:
                        send(BytesMessage(data=bytes(whole)))

    writing = asyncio.create_task(write())
    is_over = False
    while not is_over:
        for event in pending:
            if isinstance(event, h2.events.DataReceived):
                session.http.acknowledge_received_data(event.flow_controlled_length, stream)
                # END_STREAM may come in a frame without data.
                if event.data:
                    frames.receive_data(event.data)
                    receive()
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)):
                is_over = True
        if is_over:
            break
        try:
            pending = await session.events()
        except OSError:
            pending = None
        if pending is None:
            break
    while not outgoing.empty():
        await asyncio.sleep(0.001)
    writing.cancel()
    try:
        session.http.end_stream(stream)
        session.flush()
    except Exception:
        pass
    session.writer.close()
    tell_ended(path, ended["code"], ended["reason"])


async def main():
    tell(port=0)
    await orders(connect)


asyncio.run(main())
