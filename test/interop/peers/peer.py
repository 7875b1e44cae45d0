"""What the peers in Python have in common: how they are told what to do, and how they tell what happened.

They print a line of JSON for each thing: the port of their server, and how each connection ended. They read a line
of JSON for each connection that their client is to open. They end when nobody is there to tell them more.
"""

import asyncio
import json
import re
import sys


def tell(**fact):
    print(json.dumps(fact), flush=True)


def tell_ended(path, code, reason):
    """Tells how a connection ended; code None where the library does not say which of 1005 and 1006 it is."""
    tell(ended=path, code=code, reason=reason or "")


def parse(message):
    """The verb of a request, and the rest; (None, "") when it is none."""
    match = re.fullmatch(r"please (\w+) ?(.*)", message) if isinstance(message, str) else None
    return match.groups() if match else (None, "")


def parse_close(rest):
    """The code and the reason; neither when there is to be no code."""
    code, _, reason = rest.partition(" ")
    return (int(code), reason) if code else (None, None)


async def orders(connect):
    """Has the client connect, for each line that comes."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()

    async def follow(url, path, protocols):
        try:
            await connect(url, path, protocols or None)
        except Exception as error:
            tell_ended(path, 1006, repr(error))

    async for line in reader:
        task = asyncio.create_task(follow(**json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
