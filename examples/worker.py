#!/usr/bin/env python3
"""A worker for ganger in Python, with nothing but its standard library.

usage: worker.py HOST PORT NAME
"""
import random, socket, sys, time

HANDLERS = {  # kind: payload -> result
    "upper": lambda payload: payload.decode().upper().encode(),
    "words": lambda payload: b"%d" % len(payload.split()),
}


def frames(stream):
    """The words and the payload of everything that the scheduler says."""
    for line in stream:
        words, payload = line.decode().rstrip("\n").split(" "), b""
        if words[-1].startswith("#"):
            payload = stream.read(int(words.pop()[1:]))
            stream.read(1)  # the line feed after it
        yield words, payload


def say(stream, *words, payload=None):
    length, body = ([], b"") if payload is None else ([f"#{len(payload)}"], payload + b"\n")
    stream.write(" ".join([*words, *length]).encode() + b"\n" + body)
    stream.flush()


def work(stream, name):
    """Serves one connection to its end. Whether there is to be another."""
    say(stream, "HELLO", "1", "worker", f"name={name}", f"kinds={','.join(HANDLERS)}")
    for words, payload in frames(stream):
        match words:
            case ["TASK", task, attempt, kind, *_]:
                try:
                    say(stream, "DONE", task, attempt, payload=HANDLERS[kind](payload))
                except Exception as error:
                    say(stream, "FAIL", task, attempt, payload=repr(error).encode())
            case ["PING"]:
                say(stream, "PONG")
            case ["DRAIN", reason] if reason != "reason=restart":
                say(stream, "BYE")  # every task that came before is answered already
                return False
            case ["ERR", "version" | "bad-hello" | "denied", *text]:
                sys.exit(" ".join(text))
            # OK and ERR stale: nothing is left to do for that task. CANCEL: it is answered already.
    return True


host, port, name = sys.argv[1:]
while True:
    try:
        with socket.create_connection((host, port)) as sock, sock.makefile("rwb") as stream:
            if not work(stream, name):
                break
    except OSError as error:
        print("the scheduler is away:", error, file=sys.stderr)
    time.sleep(random.uniform(0.1, 1))  # so that workers do not come back all at once
